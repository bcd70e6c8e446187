package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;
import static dev.dyad.bindings.abi.linux.linux_h.SOL_SOCKET;
import static dev.dyad.bindings.abi.linux.linux_h.SO_SNDBUF;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.SteadyAllocation;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class HeldOutputTest {
  private final FileDescriptor[] guestSide = Sockets.pair(SOCK_STREAM());
  private final FileDescriptor[] worldSide = Sockets.pair(SOCK_STREAM());
  private final FileDescriptor guest = guestSide[0];
  private final FileDescriptor world = worldSide[0];
  private final StreamPort in = new StreamPort(guestSide[1], 4);
  private final StreamPort out = new StreamPort(worldSide[1], 4);
  private final EventFd bell = new EventFd();
  private final LearnedAddresses learned = new LearnedAddresses();
  private final OutputEpoch epoch = new OutputEpoch(1);
  private final ReleaseGate gate = new ReleaseGate(() -> 1, 1);
  private HeldOutput held = new HeldOutput(in, out, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);

  HeldOutputTest() {
    gate.leaseUntil(Clocks.bootNs() + 3_600_000_000_000L);
  }

  @AfterEach
  void close() {
    held.close();
    learned.close();
    bell.close();
    in.close();
    out.close();
    guest.close();
    world.close();
  }

  private void guestSends(int number) {
    Wire.send(guest, Wire.prefixed(Wire.frame(number, Wire.FRAME_BYTES), 4));
  }

  private void receiveAll() {
    while (held.receive() == HeldOutput.Received.FRAMES) {
      // until nothing is left
    }
  }

  private List<Integer> left() {
    return Wire.numbers(Wire.received(world), 4);
  }

  @Test
  void shouldReleaseNothingWhenAckIsMissing() {
    guestSends(1);
    receiveAll();
    epoch.seal(1);
    held.release(0);
    assertEquals(List.of(), left());
    assertEquals(1, held.heldFrames());
    held.release(1);
    assertEquals(List.of(1), left());
    assertEquals(0, held.heldFrames());
    assertTrue(held.isEmpty());
  }

  @Test
  void shouldReleaseOnlyFramesOfAcknowledgedEpochsAndInTheirOrder() {
    int number = 0;
    for (int e = 1; e <= 3; e++) {
      for (int i = 0; i < 3; i++) {
        guestSends(number++);
      }
      receiveAll();
      epoch.seal(e);
    }
    held.release(1);
    assertEquals(List.of(0, 1, 2), left());
    held.release(3);
    assertEquals(List.of(3, 4, 5, 6, 7, 8), left());
  }

  @Test
  void shouldTagAFrameThatWasMadeAfterTheResumeWithTheNewEpochEvenWhenThePauseFallsIntoTheReceipt() {
    // The net thread is about to receive; meanwhile epoch 1 is sealed, the guest resumes and sends, and the receipt returns that frame.
    PacketPort pauseInside =
        new FakePort() {
          @Override
          public long receive(long at, long room) {
            epoch.seal(1);
            byte[] wire = Wire.prefixed(Wire.frame(7, Wire.FRAME_BYTES), 4);
            Memory.copyFrom(wire, 0, at, wire.length);
            return wire.length;
          }
        };
    held.close();
    held = new HeldOutput(pauseInside, out, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);
    held.receive();
    held.release(1);
    assertEquals(List.of(), left(), "a frame of epoch 2 left with the acknowledgement of epoch 1");
    epoch.seal(2);
    held.release(2);
    assertEquals(List.of(7), left());
  }

  @Test
  void shouldHoldAFrameThatArrivedInPartWhenItsEpochWasSealed() {
    byte[] wire = Wire.prefixed(Wire.frame(5, 200), 4);
    Wire.send(guest, Arrays.copyOf(wire, 100));
    receiveAll();
    epoch.seal(1);
    held.release(1);
    assertEquals(0, Wire.received(world).length);
    Wire.send(guest, Arrays.copyOfRange(wire, 100, 200 + 4));
    receiveAll();
    held.release(1);
    assertEquals(0, Wire.received(world).length);
    epoch.seal(2);
    held.release(2);
    assertArrayEquals(wire, Wire.received(world));
  }

  @Test
  void shouldSayThatOutputWaitsOnlyForTheOpenEpoch() {
    assertFalse(held.outputWaits());
    guestSends(1);
    receiveAll();
    assertTrue(held.outputWaits());
    epoch.seal(1);
    assertFalse(held.outputWaits());
    held.pass();
    guestSends(2);
    receiveAll();
    assertFalse(held.outputWaits());
  }

  @Test
  void shouldPassEverythingAtOnceWhenUnprotectedAndHoldFromTheSealOn() {
    held.pass();
    guestSends(1);
    receiveAll();
    assertTrue(held.isDrainDue());
    held.drain();
    assertEquals(List.of(1), left());
    guestSends(2);
    receiveAll();
    epoch.seal(1);
    held.hold(1);
    guestSends(3);
    receiveAll();
    held.drain();
    assertEquals(List.of(2), left());
    epoch.seal(2);
    held.release(2);
    assertEquals(List.of(3), left());
  }

  @Test
  void shouldLetNothingOutOnceDiscarded() {
    guestSends(1);
    receiveAll();
    epoch.seal(1);
    gate.fence();
    held.discard();
    held.release(1);
    guestSends(2);
    receiveAll();
    held.drain();
    held.pass();
    assertEquals(List.of(), left());
    assertEquals(0, held.heldFrames());
    assertTrue(held.discardedBytes() > 0);
  }

  @Test
  void shouldStopReadingWhenFullAndLoseNothing() {
    int sent = 0;
    while (held.receive() != HeldOutput.Received.FULL) {
      Wire.send(guest, Wire.prefixed(Wire.frame(sent++, 1500), 4));
    }
    assertEquals(1, held.fullTimes());
    assertEquals(0, held.droppedFrames());
    assertTrue(held.isPressed());
    epoch.seal(1);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (int turn = 0; turn < 100 && !(held.isEmpty() && turn > 2); turn++) {
      held.release(epoch.open() - 1);
      out.writeBytes(Wire.received(world));
      receiveAll();
      epoch.seal(epoch.open());
    }
    out.writeBytes(Wire.received(world));
    assertEquals(IntStream.range(0, sent).boxed().toList(), Wire.numbers(out.toByteArray(), 4));
  }

  @Test
  void shouldRingTheNetThreadWhenAReleaseMakesRoom() {
    int sent = 0;
    while (held.receive() != HeldOutput.Received.FULL) {
      Wire.send(guest, Wire.prefixed(Wire.frame(sent++, 1500), 4));
    }
    bell.drain();
    epoch.seal(1);
    held.release(1);
    assertTrue(bell.drain() > 0);
  }

  @Test
  void shouldDropOnlyWhenAGuestThatBlocksHasFilledTheRingInOneEpoch() {
    held.close();
    held = new HeldOutput(in, out, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, true);
    int sent = 0;
    while (held.droppedFrames() < 300 && sent < 100_000) {
      Wire.send(guest, Wire.prefixed(Wire.frame(sent++, 1500), 4));
      held.receive();
    }
    assertTrue(held.droppedFrames() >= 300, "a blocked guest could never be sealed");
    long kept = held.heldFrames();
    epoch.seal(1);
    // Sealed output is there now: an acknowledgement will make room, so nothing may be dropped any more.
    long droppedBefore = held.droppedFrames();
    Wire.send(guest, Wire.prefixed(Wire.frame(sent++, 1500), 4));
    assertEquals(HeldOutput.Received.FULL, held.receive());
    assertEquals(droppedBefore, held.droppedFrames());
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (int turn = 0; turn < 100; turn++) {
      held.release(epoch.open() - 1);
      out.writeBytes(Wire.received(world));
      receiveAll();
      epoch.seal(epoch.open());
    }
    List<Integer> numbers = Wire.numbers(out.toByteArray(), 4);
    assertEquals(IntStream.range(0, (int) kept).boxed().toList(), numbers.subList(0, (int) kept));
    assertEquals(sent - 1, numbers.getLast());
  }

  @Test
  void shouldGoOnWhereTheOutsideHadNoRoom() {
    List<Integer> expected = new ArrayList<>();
    for (int i = 0; i < 150; i++) {
      Wire.send(guest, Wire.prefixed(Wire.frame(i, 1500), 4));
      receiveAll();
      expected.add(i);
    }
    epoch.seal(1);
    Sockets.setOption(worldSide[1].fd(), SOL_SOCKET(), SO_SNDBUF(), 4096);
    held.release(1);
    assertTrue(held.isBlocked());
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (int turn = 0; turn < 10_000 && !held.isEmpty(); turn++) {
      out.writeBytes(Wire.received(world));
      held.drain();
    }
    out.writeBytes(Wire.received(world));
    assertEquals(expected, Wire.numbers(out.toByteArray(), 4));
    assertFalse(held.isBlocked());
  }

  @Test
  void shouldKeepCommittedOutputWhileTheLeaseHasLapsed() {
    ReleaseGate lapsed = new ReleaseGate(() -> 1, 1);
    held.close();
    held = new HeldOutput(in, out, lapsed, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);
    guestSends(1);
    receiveAll();
    epoch.seal(1);
    held.release(1);
    assertEquals(List.of(), left());
    assertTrue(held.isRefused());
    lapsed.leaseUntil(Clocks.bootNs() + 60_000_000_000L);
    held.drain();
    assertEquals(List.of(1), left());
  }

  @Test
  void shouldRefuseWhatIsNoWireForm() {
    Wire.send(guest, new byte[] {0x7f, 0, 0, 0, 1, 2, 3, 4});
    assertEquals(HeldOutput.Received.CLOSED, held.receive());
  }

  @Test
  void shouldSendAnAnnouncementOnlyBetweenFrames() {
    byte[] wire = Wire.prefixed(Wire.frame(5, 200), 4);
    Wire.send(guest, Arrays.copyOf(wire, 100));
    receiveAll();
    byte[] ours = Wire.prefixed(Wire.frame(9, 60), 4);
    try (Mapping at = Mapping.anonymous(4096)) {
      Memory.copyFrom(ours, 0, at.hostVirt(), ours.length);
      assertFalse(held.insert(at.hostVirt(), ours.length));
      Wire.send(guest, Arrays.copyOfRange(wire, 100, wire.length));
      receiveAll();
      assertTrue(held.insert(at.hostVirt(), ours.length));
    }
    epoch.seal(1);
    held.release(1);
    assertEquals(List.of(5, 9), left());
  }

  @Test
  void shouldAllocateNothingOverManyEpochs() {
    held.close();
    FakePort source = new FakePort();
    FakePort sink = new FakePort();
    held = new HeldOutput(source, sink, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);
    source.fill(Wire.prefixed(Wire.frame(1, 1000), 4));
    long[] epochs = {0};
    long allocated =
        SteadyAllocation.bytes(
            () -> {
              for (int i = 0; i < 10_000; i++) {
                turn(++epochs[0]);
              }
            });
    assertEquals(0, allocated, "bytes in 10,000 epochs");
    assertEquals(4 * epochs[0], held.receivedFrames());
    assertEquals(0, held.heldFrames());
  }

  private void turn(long e) {
    for (int i = 0; i < 4; i++) {
      held.receive();
    }
    epoch.seal(e);
    held.release(e);
  }
}
