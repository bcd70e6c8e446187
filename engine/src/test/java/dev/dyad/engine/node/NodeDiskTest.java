package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.FileArbiter;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.ReleaseGate;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Both nodes in one process, with a guest that writes to a disk: memory and disk of a take-over are of one instant. */
class NodeDiskTest {
  private static final long BOUND = 3_000_000_000L;
  private static final long DISK_BYTES = 8L << 20;
  private static final EpochConfig EPOCHS = EpochConfig.of(2_000_000L, BOUND);

  @TempDir private Path directory = Path.of("");

  private final List<AutoCloseable> toClose = new ArrayList<>();
  private @Nullable AutoCloseable standbyDisk;
  private @Nullable AutoCloseable standbyEnds;
  private final AtomicReference<@Nullable FakeDoor> door = new AtomicReference<>();

  @AfterEach
  void end() throws Exception {
    for (AutoCloseable each : toClose.reversed()) {
      each.close();
    }
  }

  @ParameterizedTest
  @CsvSource({"tcp, false", "shm, false", "tcp, true"})
  void shouldHoldOnTheDiskWhatMemorySaysIsThere(String link, boolean durable) throws Exception {
    SocketAddress at = link.equals("tcp") ? SocketAddress.inet("127.0.0.1", 0) : SocketAddress.unix(directory.resolve("link").toString());
    StandbyNode standby = standby(at, "b", durable);
    FakeGuest guest = new FakeGuest(2048, 1, 20_000);
    toClose.add(guest);
    PrimaryDisk disk = PrimaryDisk.open(options("a", durable), this::openDoor);
    toClose.add(disk);
    PrimaryNode primary = primary(guest, disk, standby.address());
    guest.disk(door());

    await("protected", primary, () -> primary.state() == PrimaryState.PROTECTED);
    long from = primary.metrics().epochsCommitted();
    await("200 epochs", primary, () -> primary.metrics().epochsCommitted() > from + 200);
    primary.kill();

    StandbyNode.Promoted promoted = standby.promoted().get(10, TimeUnit.SECONDS);
    FakeStandbyMachine machine = (FakeStandbyMachine) promoted.machine();
    toClose.add(machine);
    PrimaryDisk taken = promoted.disk();
    assertTrue(taken != null, "the disk came with the machine");
    toClose.add(taken);
    assertTrue(machine.answered() > 100, "answered " + machine.answered());
    assertDiskIsOf(machine, directory.resolve("b"));
  }

  @Test
  void shouldGoOnAloneWhenTheStandbysDiskIsGoneAndBeLevelAgainByWhatDiffers() throws Exception {
    StandbyNode standby = standby(SocketAddress.inet("127.0.0.1", 0), "b", false);
    SocketAddress listen = standby.address();
    FakeGuest guest = new FakeGuest(2048, 1, 20_000);
    toClose.add(guest);
    PrimaryDisk disk = PrimaryDisk.open(options("a", false), this::openDoor);
    toClose.add(disk);
    PrimaryNode primary = primary(guest, disk, listen);
    guest.disk(door());
    await("protected", primary, () -> primary.state() == PrimaryState.PROTECTED);

    standby.kill();
    closeNow(standby);
    await("alone", primary, () -> primary.state() == PrimaryState.ALONE);
    long asked = door().asked();
    await("the guest writes on alone", primary, () -> door().done() > asked + 50);

    StandbyNode second = standby(listen, "b", false);
    await("protected again", primary, () -> primary.state() == PrimaryState.PROTECTED);
    long copied = disk.copiedBytes();
    assertTrue(copied <= 2L * FakeDoor.BLOCKS * FakeDoor.BLOCK_BYTES, "copied " + copied + " of " + DISK_BYTES);
    primary.kill();
    StandbyNode.Promoted promoted = second.promoted().get(10, TimeUnit.SECONDS);
    toClose.add(promoted.disk());
    FakeStandbyMachine machine = (FakeStandbyMachine) promoted.machine();
    toClose.add(machine);
    assertDiskIsOf(machine, directory.resolve("b"));
  }

  /** What was answered is there; what was under way may be; nothing that was not asked for by then. */
  private static void assertDiskIsOf(FakeStandbyMachine machine, Path image) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      byte[] block = new byte[FakeDoor.BLOCK_BYTES];
      for (int place = 0; place < FakeDoor.BLOCKS; place++) {
        file.seek((long) place * FakeDoor.BLOCK_BYTES);
        file.readFully(block);
        ByteBuffer words = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
        long number = words.getLong(0);
        long newestAnswered = machine.answered() - Math.floorMod(machine.answered() - place, (long) FakeDoor.BLOCKS);
        assertTrue(number >= Math.max(0, newestAnswered), "block " + place + " holds " + number + ", answered was " + newestAnswered);
        assertTrue(number <= machine.asked(), "block " + place + " holds " + number + ", asked for was nothing beyond " + machine.asked());
        for (int at = 0; at < FakeDoor.BLOCK_BYTES; at += 8) {
          assertEquals(number, words.getLong(at), "block " + place + " is of one write");
        }
      }
    }
  }

  private FakeDoor openDoor(dev.dyad.engine.disk.BlockDevice device) {
    FakeDoor opened = new FakeDoor(device);
    door.set(opened);
    return opened;
  }

  private FakeDoor door() {
    return java.util.Objects.requireNonNull(door.get());
  }

  private DiskOptions options(String name, boolean durable) throws IOException {
    Path image = directory.resolve(name);
    if (!Files.exists(image)) {
      try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
        file.setLength(DISK_BYTES);
      }
    }
    return new DiskOptions("disk0", image, durable, Long.MAX_VALUE);
  }

  private PrimaryNode primary(FakeGuest guest, PrimaryDisk disk, SocketAddress to) {
    FileArbiter arbiter = FileArbiter.open(directory.resolve("generation"));
    toClose.add(arbiter);
    PrimaryConfig config = new PrimaryConfig("fake", "fake-1", to, null, EPOCHS, 8 << 20, 1024, 4 << 20, false, -1, LinkConfig.standard(), 0);
    GuestOutput output = new GuestOutput(new OutputEpoch(1), new ReleaseGate(arbiter::newest, 0), List.of());
    MachineEnvelope envelope = new MachineEnvelope("fake", directory.resolve("generation").toString(), EPOCHS.detectorNanos(), new byte[0]);
    PrimaryNode node = new PrimaryNode(config, guest, output, new NodePage(List.of(), List.of()), disk, arbiter, 1, envelope);
    toClose.add(
        () -> {
          node.detach(Duration.ofSeconds(5));
          node.close();
        });
    node.start(PrimaryNode.generationFor(arbiter, "fake-1", "test"));
    return node;
  }

  private StandbyNode standby(SocketAddress listen, String image, boolean durable) throws IOException {
    ReceivingDisk disk = new ReceivingDisk(options(image, durable), directory.resolve("unused"), FakeDoor::new);
    toClose.add(disk);
    standbyDisk = disk;
    StandbyNode node =
        new StandbyNode(
            new StandbyConfig(listen, null, EPOCHS, 8 << 20, false, -1),
            new NodePairFixture.Host(),
            disk);
    node.start();
    AutoCloseable ends =
        () -> {
          node.stop(Duration.ofSeconds(5));
          node.close();
        };
    standbyEnds = ends;
    toClose.add(ends);
    return node;
  }

  /** A standby's process dies: what it had open is closed. */
  private void closeNow(StandbyNode node) throws Exception {
    AutoCloseable disk = java.util.Objects.requireNonNull(standbyDisk);
    node.close();
    toClose.remove(disk);
    toClose.remove(java.util.Objects.requireNonNull(standbyEnds));
    disk.close();
  }

  private void await(String what, PrimaryNode primary, BooleanSupplier condition) throws InterruptedException {
    long giveUpAt = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > giveUpAt) {
        throw new AssertionError("not within a minute: " + what + "; " + primary.report());
      }
      Thread.sleep(5);
    }
  }
}
