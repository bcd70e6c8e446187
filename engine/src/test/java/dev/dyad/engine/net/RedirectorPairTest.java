package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Against a real QEMU, whose NICs hang on datagram sockets that the test plays the world of. */
@Timeout(60)
class RedirectorPairTest {
  private static final int QUIET_MILLIS = 400;

  /** A frame that has not come by then was lost, however busy the machine is. */
  private static final long PATIENCE_NANOS = 20_000_000_000L;

  private Path folder = Path.of("");
  private final List<DgramPort> worlds = new ArrayList<>();
  private final Mapping scratch = Mapping.anonymous(PacketPort.WIRE_FRAME_BYTES_MAX);
  private final List<AutoCloseable> open = new ArrayList<>();
  private @Nullable QtestGuest booted;

  @BeforeEach
  void boot() throws IOException {
    assumeTrue(
        Files.isExecutable(Path.of("/usr/bin/qemu-system-x86_64")), "no qemu-system-x86_64 (Debian: apt install qemu-system-x86)");
    folder = Files.createTempDirectory("dyad-net");
    List<String> netdevs = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      worlds.add(new DgramPort(folder.resolve("w" + i), folder.resolve("q" + i)));
      netdevs.add(
          "dgram,id=n" + i + ",local.type=unix,local.path=" + folder.resolve("q" + i) + ",remote.type=unix,remote.path=" + folder.resolve("w" + i));
    }
    booted = new QtestGuest(folder, List.of(), netdevs);
  }

  @AfterEach
  void close() throws Exception {
    for (AutoCloseable one : open.reversed()) {
      one.close();
    }
    if (booted != null) {
      booted.close();
    }
    worlds.forEach(DgramPort::close);
    scratch.close();
    if (!folder.toString().isEmpty()) {
      try (var files = Files.walk(folder)) {
        for (Path path : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }
  }

  private QtestGuest qemu() {
    return Objects.requireNonNull(booted);
  }

  /** A redirected NIC with its held output. */
  private record Held(RedirectorPair pair, HeldOutput output) {}

  private GuestOutput hold(ReleaseGate gate, OutputEpoch epoch, List<Held> nics, QmpCommands qmp) {
    EventFd bell = new EventFd();
    List<NetThread.Nic> served = new ArrayList<>();
    List<GuestNic> found = GuestNic.of(qmp);
    assertEquals(2, found.size());
    for (GuestNic nic : found) {
      RedirectorPair pair = RedirectorPair.open(qmp, nic, qemu().pid(), folder);
      LearnedAddresses learned = new LearnedAddresses();
      HeldOutput output = new HeldOutput(pair.guest(), pair.outside(), gate, epoch, learned, bell, 1 << 20, true);
      output.pass();
      open.add(learned);
      open.add(output);
      open.add(pair);
      nics.add(new Held(pair, output));
      served.add(new NetThread.Nic(output, null));
    }
    NetThread role = new NetThread(served, bell, () -> {}, false);
    Thread thread = new Thread(role, "net");
    thread.start();
    open.add(
        () -> {
          role.stop();
          thread.join();
          role.close();
          bell.close();
        });
    nics.forEach(nic -> nic.pair.engage());
    return new GuestOutput(epoch, gate, nics.stream().map(Held::output).toList());
  }

  private static ReleaseGate openGate() {
    ReleaseGate gate = new ReleaseGate(() -> 1, 1);
    gate.leaseUntil(Clocks.bootNs() + 3_600_000_000_000L);
    return gate;
  }

  private static String refusal(Executable call) {
    return String.valueOf(assertThrows(IllegalStateException.class, call).getMessage());
  }

  /** The numbers that came out of a NIC's netdev, until nothing comes for a while. */
  private List<Integer> world(int nic) {
    List<Integer> numbers = new ArrayList<>();
    world(nic, numbers);
    return numbers;
  }

  private void world(int nic, List<Integer> numbers) {
    long quietSince = System.nanoTime();
    while (System.nanoTime() - quietSince < QUIET_MILLIS * 1_000_000L) {
      long got = worlds.get(nic).receive(scratch.hostVirt(), scratch.bytes());
      if (got > 0) {
        numbers.add(Integer.reverseBytes(Memory.getInt(scratch.hostVirt() + 4 + 14)));
        quietSince = System.nanoTime();
      } else {
        Thread.yield();
      }
    }
  }

  @Test
  void shouldHoldTheFramesOfARunningGuestUntilTheirEpochIsAcknowledged() {
    OutputEpoch epoch = new OutputEpoch(1);
    List<Held> nics = new ArrayList<>();
    GuestOutput output = hold(openGate(), epoch, nics, qemu()::execute);
    qemu().send(0, 1, 60);
    assertEquals(List.of(1), world(0), "an unprotected guest is not held");
    output.seal(1);
    output.hold(1);
    qemu().send(0, 2, 60);
    qemu().send(0, 3, 1500);
    qemu().send(1, 4, 60);
    assertEquals(List.of(), world(0));
    assertEquals(List.of(), world(1));
    assertTrue(output.outputWaits());
    output.seal(2);
    qemu().send(0, 5, 60);
    output.release(2);
    assertEquals(List.of(2, 3), world(0));
    assertEquals(List.of(4), world(1));
    output.seal(3);
    output.release(3);
    assertEquals(List.of(5), world(0));
  }

  @Test
  void shouldLoseAndDoubleAndReorderNothingWhenEngagedAndGivenBackUnderLoad() throws InterruptedException {
    // Stopped vCPUs send nothing; this guest has none, so whoever plays them waits while the guest is stopped.
    ReentrantLock running = new ReentrantLock();
    QmpCommands qmp =
        (command, arguments) -> {
          if (command.equals("stop")) {
            running.lock();
          }
          String answer = qemu().execute(command, arguments);
          if (command.equals("cont")) {
            running.unlock();
          }
          return answer;
        };
    int count = 2000;
    List<Integer> arrived = Collections.synchronizedList(new ArrayList<>());
    AtomicBoolean lost = new AtomicBoolean();
    Thread guest =
        new Thread(
            () -> {
              for (int i = 0; i < count && !lost.get(); i++) {
                // At its every stop QEMU throws away what its backend would not take, with us or without: let there be no such thing.
                while (i - arrived.size() >= 5 && !lost.get()) {
                  Thread.yield();
                }
                running.lock();
                try {
                  qemu().send(0, i, 60 + i % 1000);
                } finally {
                  running.unlock();
                }
              }
            });
    Thread world =
        new Thread(
            () -> {
              long arrivedNanos = System.nanoTime();
              while (arrived.size() < count && !lost.get()) {
                int before = arrived.size();
                world(0, arrived);
                if (arrived.size() > before) {
                  arrivedNanos = System.nanoTime();
                }
                lost.set(System.nanoTime() - arrivedNanos > PATIENCE_NANOS);
              }
            });
    guest.start();
    world.start();
    List<Held> nics = new ArrayList<>();
    hold(openGate(), new OutputEpoch(1), nics, qmp);
    Thread.sleep(50);
    for (Held nic : nics) {
      nic.pair.disengage(nic.output);
    }
    long throughUs = nics.getFirst().output.receivedFrames();
    guest.join();
    world.join();
    assertEquals(IntStream.range(0, count).boxed().toList(), arrived);
    assertTrue(throughUs > 0 && throughUs < count, throughUs + " of " + count + " frames came through us");
    assertEquals(List.of(), RedirectorPair.orphans(qemu()::execute));
    assertEquals(-1, qemu().execute("query-chardev", "{}").indexOf("\"label\": \"dyad-"));
  }

  @Test
  void shouldGiveANicBackOnlyAfterItsLastFrameHasLeft() throws InterruptedException {
    EventFd bell = new EventFd();
    RedirectorPair pair = RedirectorPair.open(qemu()::execute, GuestNic.of(qemu()::execute).getFirst(), qemu().pid(), folder);
    LearnedAddresses learned = new LearnedAddresses();
    HeldOutput output = new HeldOutput(pair.guest(), pair.outside(), openGate(), new OutputEpoch(1), learned, bell, 1 << 20, true);
    output.pass();
    pair.engage();
    for (int i = 0; i < 3; i++) {
      qemu().send(0, i, 60);
    }
    // Nobody reads yet: the frames are in the socket while the NIC is to be given back.
    Thread giver = new Thread(() -> pair.disengage(output));
    giver.start();
    giver.join(200);
    NetThread role = new NetThread(List.of(new NetThread.Nic(output, null)), bell, () -> {}, false);
    Thread thread = new Thread(role, "net");
    thread.start();
    assertEquals(List.of(0, 1, 2), world(0));
    giver.join();
    qemu().send(0, 3, 60);
    assertEquals(List.of(3), world(0));
    role.stop();
    thread.join();
    role.close();
    output.close();
    learned.close();
    pair.close();
    bell.close();
  }

  @Test
  void shouldLetNothingOutOfAGuestWhoseHolderDied() {
    List<Held> nics = new ArrayList<>();
    hold(openGate(), new OutputEpoch(1), nics, qemu()::execute);
    qemu().send(0, 1, 60);
    assertEquals(List.of(1), world(0));
    // What the kernel does for a process that is killed.
    nics.forEach(nic -> nic.pair.close());
    qemu().send(0, 2, 60);
    qemu().send(1, 3, 60);
    assertEquals(List.of(), world(0));
    qemu().execute("stop", "{}");
    qemu().execute("cont", "{}");
    qemu().send(0, 4, 1500);
    assertEquals(List.of(), world(0));
    assertEquals(List.of(), world(1));
    assertEquals(List.of("n0", "n1"), RedirectorPair.orphans(qemu()::execute).stream().sorted().toList());
    GuestNic nic = GuestNic.of(qemu()::execute).getFirst();
    String said = refusal(() -> RedirectorPair.open(qemu()::execute, nic, qemu().pid(), folder));
    assertTrue(said.contains("may have been taken over"), said);

    RedirectorPair.removeOrphan(qemu()::execute, "n0");
    qemu().send(0, 5, 60);
    assertEquals(List.of(5), world(0));
  }

  @Test
  void shouldLetNothingOutOfAGuestWhoseHolderIsFenced() {
    List<Held> nics = new ArrayList<>();
    OutputEpoch epoch = new OutputEpoch(1);
    GuestOutput output = hold(openGate(), epoch, nics, qemu()::execute);
    output.seal(1);
    output.hold(1);
    qemu().send(0, 1, 60);
    assertEquals(List.of(), world(0));
    output.seal(2);
    output.discard();
    output.release(2);
    qemu().send(0, 2, 60);
    assertEquals(List.of(), world(0));
    assertEquals(0, output.heldFrames());
  }

  @Test
  void shouldAnnounceThroughTheGuestsOwnNetdev() {
    OutputEpoch epoch = new OutputEpoch(1);
    List<Held> nics = new ArrayList<>();
    EventFd bell = new EventFd();
    RedirectorPair pair = RedirectorPair.open(qemu()::execute, GuestNic.of(qemu()::execute).getFirst(), qemu().pid(), folder);
    LearnedAddresses learned = new LearnedAddresses();
    HeldOutput output = new HeldOutput(pair.guest(), pair.outside(), openGate(), epoch, learned, bell, 1 << 20, true);
    output.pass();
    NetThread role = new NetThread(List.of(new NetThread.Nic(output, null)), bell, () -> {}, false);
    Thread thread = new Thread(role, "net");
    thread.start();
    pair.engage();
    nics.add(new Held(pair, output));
    open.add(learned);
    open.add(output);
    open.add(pair);
    open.add(
        () -> {
          role.stop();
          thread.join();
          role.close();
          bell.close();
        });
    qemu().send(0, 1, 60);
    assertEquals(List.of(1), world(0));
    try (Announcer announcer = new Announcer(learned, RedirectorPair.PREFIX_BYTES, 0)) {
      assertEquals(1, announcer.frames());
      role.announce(0, announcer);
      assertEquals(1, world(0).size());
      assertEquals((short) 0x3580, Memory.getShort(scratch.hostVirt() + 4 + 12), "no RARP");
    }
  }

  @Test
  void shouldRefuseANicWithVhostAndUndoWhatItDid() {
    List<String> commands = new ArrayList<>();
    List<FileDescriptor> ends = new ArrayList<>();
    QmpCommands vhost =
        (command, arguments) -> {
          commands.add(command);
          if (command.equals("qom-list")) {
            return "[]";
          }
          if (command.equals("chardev-add")) {
            int at = arguments.indexOf("\"path\":\"") + 8;
            ends.add(Sockets.connect(SocketAddress.unix(arguments.substring(at, arguments.indexOf('"', at))), SOCK_STREAM()));
          }
          if (command.equals("object-add")) {
            throw new IllegalStateException("Vhost is not supported");
          }
          return "{}";
        };
    GuestNic nic = new GuestNic("net0", "52:54:00:12:34:56", "n0", "tap", 1);
    String said = refusal(() -> RedirectorPair.open(vhost, nic, 0, folder));
    ends.forEach(FileDescriptor::close);
    assertTrue(said.contains("vhost=on") && said.contains("vhost=off"), said);
    assertEquals(List.of("object-add", "chardev-remove", "chardev-remove"), commands.subList(commands.size() - 3, commands.size()));
  }
}
