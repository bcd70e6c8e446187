package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.CLONE_NEWNET;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Namespaces;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.linux.Tap;
import java.io.ByteArrayOutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.opentest4j.TestAbortedException;

class PortsTest {
  @TempDir Path folder = Path.of("");

  private final Mapping memory = Mapping.anonymous(1 << 20);
  private final long at = memory.hostVirt();

  private int put(byte[] wire) {
    Memory.copyFrom(wire, 0, at, wire.length);
    return wire.length;
  }

  @Test
  void shouldCarryFramesOverDatagramsAndOutliveThePeer() {
    Path a = folder.resolve("a");
    Path b = folder.resolve("b");
    try (DgramPort here = new DgramPort(a, b)) {
      int bytes = put(Wire.prefixed(Wire.frame(1, 1500), 4));
      assertEquals(bytes, here.send(at, bytes), "a frame that nobody is there for is lost, not kept");
      assertEquals(1, here.lostFrames());
      for (int life = 0; life < 2; life++) {
        try (DgramPort there = new DgramPort(b, a)) {
          while (there.receive(at + 65536, PacketPort.WIRE_FRAME_BYTES_MAX) == PacketPort.AGAIN) {
            here.send(at, bytes);
          }
          assertTrue(Memory.equal(at, at + 65536, bytes));
          assertEquals(PacketPort.AGAIN, here.receive(at + 65536, PacketPort.WIRE_FRAME_BYTES_MAX));
        }
      }
    }
  }

  @Test
  void shouldSayThatAStreamIsClosedOnBothSides() {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    try (StreamPort port = new StreamPort(ends[0], 4)) {
      assertEquals(PacketPort.AGAIN, port.receive(at, 100));
      ends[1].close();
      assertEquals(PacketPort.CLOSED, port.receive(at, 100));
      assertEquals(PacketPort.CLOSED, port.send(at, 100));
    }
  }

  @Test
  void shouldRelayInputAndHoldOutputBetweenAGuestsSocketAndTheWorldAndRingTheDoorbell() throws InterruptedException {
    FileDescriptor[] guestSide = Sockets.pair(SOCK_STREAM());
    FileDescriptor[] worldSide = Sockets.pair(SOCK_STREAM());
    OutputEpoch epoch = new OutputEpoch(1);
    ReleaseGate gate = new ReleaseGate(() -> 1, 1);
    gate.leaseUntil(Clocks.bootNs() + 3_600_000_000_000L);
    CountDownLatch rung = new CountDownLatch(1);
    AtomicInteger rings = new AtomicInteger();
    try (StreamPort guest = new StreamPort(guestSide[1], 4);
        StreamPort outside = new StreamPort(worldSide[1], 4);
        EventFd bell = new EventFd();
        LearnedAddresses learned = new LearnedAddresses();
        HeldOutput held = new HeldOutput(guest, outside, gate, epoch, learned, bell, 1 << 20, false);
        InputRelay relay = new InputRelay(outside, guest)) {
      NetThread role =
          new NetThread(
              List.of(new NetThread.Nic(held, relay)),
              bell,
              () -> {
                rings.incrementAndGet();
                rung.countDown();
              },
              false);
      Thread thread = new Thread(role, "net");
      thread.start();
      Wire.send(worldSide[0], Wire.prefixed(Wire.frame(7, 300), 4));
      assertEquals(List.of(7), Wire.numbers(await(guestSide[0], 304), 4));
      for (int i = 0; i < 20; i++) {
        Wire.send(guestSide[0], Wire.prefixed(Wire.frame(i, 300), 4));
      }
      assertTrue(rung.await(10, TimeUnit.SECONDS), "the epoch thread was not told that output waits");
      while (held.receivedFrames() < 20) {
        Thread.onSpinWait();
      }
      assertEquals(0, Wire.received(worldSide[0]).length);
      assertEquals(1, rings.get());
      epoch.seal(1);
      held.release(1);
      assertEquals(IntStream.range(0, 20).boxed().toList(), Wire.numbers(await(worldSide[0], 20 * 304), 4));
      role.stop();
      thread.join();
      role.close();
      guestSide[0].close();
      worldSide[0].close();
    }
  }

  private static byte[] await(FileDescriptor socket, int bytes) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    long end = System.nanoTime() + 10_000_000_000L;
    while (all.size() < bytes && System.nanoTime() < end) {
      all.writeBytes(Wire.received(socket));
    }
    return all.toByteArray();
  }

  @Test
  void shouldCarryFramesThroughATapDevice() throws InterruptedException {
    // A thread of its own in a network namespace of its own: two TAPs on no bridge, one's frames seen by the kernel only.
    AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
    List<Integer> left = new ArrayList<>();
    Thread inside =
        new Thread(
            () -> {
              int result = Namespaces.leave(CLONE_NEWNET());
              if (result != 0) {
                failure.set(new TestAbortedException("no network namespace without root: errno " + -result));
                return;
              }
              try (TapPort port = new TapPort(Tap.open("dyt%d"))) {
                int bytes = put(Wire.prefixed(Wire.frame(1, 60), 4));
                assertEquals(bytes, port.send(at, bytes));
                assertEquals(1, port.lostFrames(), "the interface is down");
                port.tap().bringUp();
                assertEquals(bytes, port.send(at, bytes));
                assertEquals(1, port.lostFrames());
                // The kernel greets a new interface (IPv6 neighbour discovery): a frame in wire form.
                long end = System.nanoTime() + 10_000_000_000L;
                long got = 0;
                while (got == PacketPort.AGAIN && System.nanoTime() < end) {
                  got = port.receive(at, PacketPort.WIRE_FRAME_BYTES_MAX);
                }
                assertTrue(got > 4 + 14, "nothing came out of the TAP: " + got);
                assertEquals(got - 4, Integer.reverseBytes(Memory.getInt(at)));
                left.add(1);
              } catch (Throwable t) {
                failure.set(t);
              }
            });
    inside.start();
    inside.join();
    Throwable thrown = failure.get();
    assumeTrue(!(thrown instanceof TestAbortedException), String.valueOf(thrown));
    if (thrown != null) {
      throw new AssertionError(thrown);
    }
    assertEquals(List.of(1), left);
  }
}
