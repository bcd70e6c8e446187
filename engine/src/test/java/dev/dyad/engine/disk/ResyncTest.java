package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** How much levelling moves, how fast it may be, and what it says of itself; the clock is the test's. */
class ResyncTest {
  private static final int BLOCK = 512;
  private static final long BYTES = 8 << 20;
  private static final DiskGeometry GEOMETRY = new DiskGeometry(BYTES, BLOCK, 64 * BLOCK, 4);
  private static final long TURN_NANOS = 1_000_000;
  private static final int TURNS_MAX = 200_000;

  /** Two hosts' disks on one thread, with an epoch every eighth turn. */
  private static final class Pair implements AutoCloseable {
    final Random random = new Random(5);
    final MirrorConfig config;
    final SimDevice[] devices = new SimDevice[4];
    final SimDevice log;
    final Mapping buffer = Mapping.anonymous(4096);
    final MirroredDisk primary;
    @Nullable StandbyDisk standby;
    long now;
    int answers;
    boolean seals = true;
    private int turns;

    Pair(long bytesPerSecond) {
      config = new MirrorConfig(16, 8 << 10, bytesPerSecond, 1000, 1L << 60, false, 256 << 10, 1024, 16);
      DiskEvents events = new DiskEvents();
      for (int i = 0; i < 4; i++) {
        devices[i] = new SimDevice(i < 2 ? BYTES : GEOMETRY.metadataBytes(), random, events);
      }
      log = new SimDevice(1 << 20, random, events);
      DiskMetadata.format(devices[2], GEOMETRY, 7, 7, Generations.first(1));
      DiskMetadata.format(devices[3], GEOMETRY, 7, 7, Generations.NONE);
      primary = MirroredDisk.open(devices[0], devices[2], config, 0);
    }

    void connect() {
      connect(null, false);
    }

    void connect(@Nullable SimDevice logDevice, boolean durable) {
      SimLink forward = new SimLink(random);
      SimLink back = new SimLink(random);
      standby = StandbyDisk.open(devices[1], devices[3], logDevice, config.withDurable(durable), new DiskChannel(back.sender, forward.receiver, 1));
      primary.attach(new DiskChannel(forward.sender, back.receiver, 1));
    }

    void disconnect(long identifier) {
      StandbyDisk present = standby;
      if (present != null) {
        present.close();
      }
      standby = null;
      primary.standAlone(identifier);
    }

    StandbyDisk standby() {
      return java.util.Objects.requireNonNull(standby);
    }

    void turn() {
      now += TURN_NANOS;
      primary.poll((tag, error) -> answers++, now);
      StandbyDisk present = standby;
      if (present != null) {
        present.poll();
        if (present.isWhole(present.sealedEpoch())) {
          present.committed(present.sealedEpoch());
        }
      }
      if (seals && ++turns % 8 == 0) {
        primary.seal(primary.epoch());
      }
    }

    void turns(int count) {
      for (int i = 0; i < count; i++) {
        turn();
      }
    }

    void level() {
      for (int i = 0; !primary.isLevel(); i++) {
        turn();
        assertTrue(i < TURNS_MAX, "not level: " + primary);
      }
    }

    /** Writes a block and waits for the answer. */
    void write(long block) {
      write(block, 1);
    }

    void write(long block, int blocks) {
      int before = answers;
      Memory.fill(buffer.hostVirt(), (long) blocks * BLOCK, (byte) (1 + random.nextInt(100)));
      assertTrue(primary.submit(BlockDevice.WRITE, 0, block * BLOCK, (long) blocks * BLOCK, buffer.hostVirt(), 0));
      for (int i = 0; answers == before; i++) {
        turn();
        assertTrue(i < TURNS_MAX, "no answer: " + primary);
      }
    }

    /** An epoch of which the standby's log has to put something into its file; it is durable on both sides afterwards. */
    void writeMoreThanMemoryKeeps() {
      seals = false;
      long before = log.writes;
      for (int i = 0; log.writes == before; i++) {
        write(8L * i, 8);
        assertTrue(i < 100, "memory is not short: " + standby);
      }
      seals = true;
      turns(500);
    }

    @Override
    public void close() {
      StandbyDisk present = standby;
      if (present != null) {
        present.close();
      }
      primary.close();
      for (SimDevice device : devices) {
        device.free();
      }
      log.free();
      buffer.close();
    }
  }

  @Test
  void shouldMoveAtMostOneAndAHalfPercentWhenOnePercentWasRewritten() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      pair.connect();
      pair.level();
      pair.disconnect(2);
      Set<Long> written = new HashSet<>();
      while (written.size() < GEOMETRY.blocks() / 100) {
        long block = pair.random.nextLong(GEOMETRY.blocks());
        pair.write(block);
        written.add(block);
      }
      pair.connect();
      pair.level();
      long moved = pair.primary.resync().copiedBytes();
      assertTrue(moved >= (long) written.size() * BLOCK, moved + " bytes moved, written were " + written.size() + " blocks");
      assertTrue(moved <= BYTES * 15 / 1000, moved + " bytes moved of " + BYTES);
      assertEquals(0, pair.primary.resync().comparedBytes(), "nothing else is even compared");
      assertEquals(-1, Memory.mismatch(pair.devices[0].contents(), pair.devices[1].contents(), BYTES));
    }
  }

  /** With durability = memory the file has gaps: it is only what memory could not keep. */
  @Test
  void shouldNotRepeatTheLogOfASessionInMemory() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      pair.connect(pair.log, true);
      pair.level();
      pair.disconnect(2);
      pair.connect(pair.log, false);
      pair.level();
      pair.writeMoreThanMemoryKeeps();
      pair.write(0);
      pair.turns(500);
      pair.writeMoreThanMemoryKeeps();
      pair.write(0);
      pair.turns(500);
      assertEquals(0, pair.standby().pendingWrites());
      pair.disconnect(3);
      pair.connect(pair.log, false);
      pair.level();
      assertEquals(0, pair.primary.resync().copiedBytes(), "all of it was durable on both sides");
      assertEquals(-1, Memory.mismatch(pair.devices[0].contents(), pair.devices[1].contents(), BYTES));
    }
  }

  /** The primary is lost between the seal that makes the standby level and the record of it. */
  @Test
  void shouldNotCountAsFailedAfterItTookOver() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      DiskMetadata failed = DiskMetadata.open(pair.devices[3], BYTES, block -> 0, geometry -> new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
      long ticket = failed.update(failed.generations(), Superblock.FAILED, 0, failed.logId());
      while (!failed.isDurable(ticket)) {
        failed.poll();
      }
      failed.close();
      pair.connect();
      StandbyDisk standby = pair.standby();
      for (int i = 0; !standby.isLevel(); i++) {
        pair.turn();
        assertTrue(i < TURNS_MAX, "not level: " + standby);
      }
      assertTrue(standby.promote(standby.sealedEpoch()));
      while (!standby.isReadyToTakeOver()) {
        standby.poll();
      }
      MirroredDisk taken = standby.takeOver(9);
      while (!taken.isIdentityDurable()) {
        taken.poll((tag, error) -> {}, ++pair.now);
      }
      taken.close();
      MirroredDisk.open(pair.devices[1], pair.devices[3], pair.config, 0).close();
    }
  }

  /** Whether the bitmap of that metadata has a bit on disk. */
  private static boolean hasBits(SimDevice metadata) {
    long from = GEOMETRY.bitmapOffset(0);
    try (Mapping zeroes = Mapping.anonymous(GEOMETRY.metadataBytes() - from)) {
      return !Memory.equal(metadata.contents() + from, zeroes.hostVirt(), zeroes.bytes());
    }
  }

  @Test
  void shouldWriteTheBitmapOnlyWhereItHasBits() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      pair.connect();
      pair.level();
      pair.write(0);
      pair.turns(100);
      long before = pair.devices[2].writes;
      for (int i = 0; i < 20; i++) { // with a checkpoint after each
        pair.write(i);
        pair.turns(50);
      }
      assertEquals(before, pair.devices[2].writes, "metadata was written although one extent is active all the time");

      int extents = 3 * GEOMETRY.activeExtents();
      for (int extent = 0; extent < extents; extent++) {
        pair.write((long) extent * GEOMETRY.blocksPerExtent());
      }
      boolean had = hasBits(pair.devices[2]);
      for (int i = 0; i < 100 && !had; i++) {
        pair.turn();
        had = hasBits(pair.devices[2]);
      }
      assertTrue(had, "an extent that lost its place has its marks in the bitmap");
      pair.turns(200);
      assertTrue(!hasBits(pair.devices[2]), "both disks have it durably and the marks are still there");
    }
  }

  @Test
  void shouldKeepToItsRateAndSayHowFarItIs() {
    long rate = 4 << 20;
    try (Pair pair = new Pair(rate)) {
      for (int i = 0; i < 200; i++) {
        pair.write(pair.random.nextLong(GEOMETRY.blocks()));
      }
      pair.connect();
      while (!pair.primary.isMirroring()) {
        pair.turn();
      }
      long start = pair.now;
      long total = pair.primary.resync().remainingBytes();
      assertTrue(total >= BYTES, "an empty disk is compared as a whole");
      int percent = 0;
      long pieces = (long) pair.primary.resync().pieces() * pair.config.pieceBytes();
      for (int i = 0; !pair.primary.isLevel(); i++) {
        pair.turn();
        Resync resync = pair.primary.resync();
        long done = resync.copiedBytes() + resync.comparedBytes();
        long allowed = rate * (pair.now - start + 100_000_000L) / 1_000_000_000L + pieces;
        assertTrue(done <= allowed, done + " bytes after " + (pair.now - start) + " ns, allowed are " + allowed);
        assertTrue(resync.percent() >= percent, "from " + percent + " to " + resync.percent() + " percent");
        percent = resync.percent();
        assertTrue(i < TURNS_MAX, "not level: " + pair.primary);
      }
      assertEquals(100, percent);
      assertEquals(0, pair.primary.resync().remainingBytes());
      long measured = pair.primary.resync().bytesPerSecond(pair.now);
      assertTrue(measured > rate / 2 && measured <= rate * 11 / 10, "rate of " + measured + ", bound " + rate);
    }
  }

  @Test
  void shouldNotCompareWhatTheGuestWritesAsAWhole() {
    try (Pair pair = new Pair(1)) { // a byte a second: nothing but the guest's writes gets across
      pair.connect();
      while (!pair.primary.isMirroring()) {
        pair.turn();
      }
      long before = pair.primary.resync().remainingBytes();
      pair.write(GEOMETRY.blocks() - 1);
      assertEquals(before - BLOCK, pair.primary.resync().remainingBytes());
    }
  }

  @Test
  void shouldBecomeLevelWhileTheGuestKeepsWriting() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      pair.connect();
      for (int i = 0; !pair.primary.isLevel(); i++) {
        pair.write(pair.random.nextLong(GEOMETRY.blocks() / 8));
        assertTrue(i < TURNS_MAX, "not level: " + pair.primary);
      }
      for (int i = 0; i < 1000; i++) {
        pair.turn();
      }
      assertEquals(-1, Memory.mismatch(pair.devices[0].contents(), pair.devices[1].contents(), BYTES));
    }
  }

  /** Its holes are not those of what the guest reads. */
  @Test
  void shouldTellNoHolesOfAnImageThatFailed() {
    try (Pair pair = new Pair(Long.MAX_VALUE)) {
      pair.connect();
      pair.level();
      assertEquals(-BLOCK, pair.primary.extent(0, BLOCK));
      pair.write(1);
      assertEquals(BLOCK, pair.primary.extent(BLOCK, BLOCK));
      pair.devices[0].error = -5;
      pair.write(0);
      assertTrue(pair.primary.isImageFailed());
      assertEquals(2 * BLOCK, pair.primary.extent(0, 2 * BLOCK));
    }
  }

  /** While it is levelled the disk seals by its own clock, which no acknowledgement stops. */
  @Test
  void shouldWaitForAStandbyThatIsSlowWhileItIsLevelled() {
    try (Pair pair = new Pair(1)) {
      pair.connect();
      while (!pair.primary.isMirroring()) {
        pair.turn();
      }
      long block = 0;
      for (int i = 0; i < 5_000; i++) { // the standby does nothing, and the ring is full before long
        pair.now += TURN_NANOS;
        while (pair.primary.inFlight() < pair.config.requests()) {
          assertTrue(pair.primary.submit(BlockDevice.WRITE, 0, block++ % GEOMETRY.blocks() * BLOCK, BLOCK, pair.buffer.hostVirt(), 0));
        }
        pair.primary.poll((tag, error) -> pair.answers++, pair.now);
        pair.primary.sealLevelling(true);
        assertTrue(pair.primary.isMirroring(), pair.primary.reason());
      }
      assertTrue(pair.primary.ringFull() > 0, "the ring was full");
      int before = pair.answers;
      for (int i = 0; pair.answers < before + 1_000; i++) {
        pair.turn();
        pair.primary.submit(BlockDevice.WRITE, 0, block++ % GEOMETRY.blocks() * BLOCK, BLOCK, pair.buffer.hostVirt(), 0);
        assertTrue(i < TURNS_MAX, "it goes on: " + pair.primary);
      }
    }
  }
}
