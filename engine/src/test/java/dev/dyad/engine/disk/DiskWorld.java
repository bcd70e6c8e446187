package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.DiskEvents.Kind;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Two hosts, their disks, a guest that knows what it wrote, and everything that can go wrong, on one thread under one seed. The classes of the
 * engine are the real ones; only devices and links are simulated.
 *
 * <p>Checked: a promoted disk is exactly the primary's at the seal of its epoch, in flight or not; reads see the
 * guest's view; what was flushed survives a loss of power; two level disks are equal when nothing moves.
 */
final class DiskWorld implements AutoCloseable {
  static final int BLOCK = 512;
  static final int BLOCKS = 1024;
  static final DiskGeometry GEOMETRY = new DiskGeometry((long) BLOCKS * BLOCK, BLOCK, 64 * BLOCK, 4);
  private static final int SLOTS = 16;
  private static final int BUFFER = 16 << 10;

  /** As the protocol's window bounds them. */
  private static final int EPOCHS_IN_FLIGHT_MAX = 16;


  /** A fault in the engine that the checks must find. */
  enum Mutation {
    NONE,
    APPLY_BEFORE_COMMIT,
    SKIP_ACTIVITY_LOG,
    FORGET_DISCARD,
    FORGET_FLUSH,
    /** The log file takes writes of the open epoch and says that they are sealed. */
    REPLAY_A_DROPPED_EPOCH,
    /** The log is repeated from its disk's cache. */
    REPLAY_AN_UNFLUSHED_LOG,
    /** The standby says DURABLE of what is in its disk's cache. */
    CLEAN_BEFORE_DURABLE
  }

  private static final class Write {
    int from;
    int count;
    long value;

    /** Whether the image has it, or had. */
    boolean begun;

    boolean overlaps(Write other) {
      return from < other.from + other.count && other.from < from + count;
    }
  }

  /** What the disk holds at a seal: what the guest was told is written, and what the image had been given by then, which is in the ring as well. */
  private static final class Snapshot {
    final long[] view;
    final List<Write> inFlight = new ArrayList<>();

    Snapshot(long[] view) {
      this.view = view.clone();
    }

    void add(Write write) {
      inFlight.add(write);
      if (write.begun) {
        Arrays.fill(view, write.from, write.from + write.count, write.value);
      }
    }
  }

  private final long seed;
  private final Random random;
  private final Mutation mutation;
  private final MirrorConfig config;
  private final SimHost a;
  private final SimHost b;
  private SimHost primaryHost;
  private SimHost otherHost;
  private MirroredDisk primary;
  private @Nullable StandbyDisk standby;
  private @Nullable SimLink forward;
  private @Nullable SimLink back;
  private int waitPolls;
  private boolean otherUsable = true;
  private long identifiers = 1;
  private long now;

  // the guest
  private final Mapping buffers = Mapping.anonymous((SLOTS + 1L) * BUFFER);
  private final boolean[] busy = new boolean[SLOTS];
  private final int[] slotOp = new int[SLOTS];
  private final Write[] slotWrite = new Write[SLOTS];
  /** Of a flush: what it covers. */
  private final long[][] slotCovers = new long[SLOTS][];

  /** Of a read, for each block: what it may give. */
  private final List<List<Set<Long>>> slotMay = new ArrayList<>();
  private final long[] view = new long[BLOCKS];

  private final DurableValues durable = new DurableValues(BLOCKS);
  private long values;
  private long opened;

  /** Epochs in which a flush was answered. */
  private final java.util.TreeSet<Long> flushedEpochs = new java.util.TreeSet<>();

  private boolean flushSeen;
  private long memoryWhole = -1;
  private long acknowledged = -1;
  private final Map<Long, Snapshot> snapshots = new HashMap<>();
  private boolean guestStopped;

  // what happened
  final DiskEvents events = new DiskEvents();
  private boolean verifying;
  private boolean verifiedClean;
  private boolean wasLevel;
  private boolean over;
  private String lastReason = "";

  DiskWorld(long seed, Mutation mutation, boolean durable) {
    this.seed = seed;
    this.mutation = mutation;
    random = new Random(seed);
    config = new MirrorConfig(SLOTS, 8 << 10, Long.MAX_VALUE, 1000, 1_000_000, durable, 256 << 10, 1024, 16);
    a = new SimHost(GEOMETRY, random, events);
    b = new SimHost(GEOMETRY, random, events);
    a.image.onWrite = hostVirt -> imageTakes(a, hostVirt);
    b.image.onWrite = hostVirt -> imageTakes(b, hostVirt);
    for (int slot = 0; slot < SLOTS; slot++) {
      slotMay.add(List.of());
    }
    format(a, Generations.first(identifiers++));
    format(b, Generations.NONE);
    primaryHost = a;
    otherHost = b;
    primary = openPrimary(a, 0);
  }

  private void format(SimHost host, Generations generations) {
    host.meta.liesAboutOps = 0;
    DiskMetadata.format(host.meta, GEOMETRY, 7, 7, generations);
    host.formatted = true;
  }

  private MirroredDisk openPrimary(SimHost host, long epoch) {
    mutate(host);
    if (mutation == Mutation.FORGET_DISCARD) {
      host.image.liesAboutOps = 0; // the standby forgets it
    }
    return MirroredDisk.open(host.image, host.meta, config, epoch);
  }

  private void mutate(SimHost host) {
    if (mutation == Mutation.SKIP_ACTIVITY_LOG) {
      host.meta.liesAboutOps = 1 << BlockDevice.WRITE;
      host.meta.liesFrom = GEOMETRY.activityOffset(0, 0);
      host.meta.liesTo = GEOMETRY.bitmapOffset(0);
    } else if (mutation == Mutation.FORGET_DISCARD) {
      host.image.liesAboutOps = 1 << BlockDevice.DISCARD;
    } else if (mutation == Mutation.FORGET_FLUSH) {
      host.image.liesAboutOps = 1 << BlockDevice.FLUSH;
    } else if (mutation == Mutation.CLEAN_BEFORE_DURABLE) {
      host.image.liesAboutOps = host == otherHost ? 1 << BlockDevice.FLUSH : 0;
    }
  }

  private AssertionError broken(String what) {
    return new AssertionError(
        "seed " + seed + ", epoch " + primary.epoch() + ": " + what
            + "\n  replay: mvn -o -pl engine -am test -Dtest=DiskSim -Dsurefire.failIfNoSpecifiedTests=false -Ddyad.jvmArgs=-Ddyad.disk.seed=" + seed);
  }

  // ---- the guest ----

  private void guestStep() {
    if (guestStopped) {
      return;
    }
    int slot = random.nextInt(SLOTS);
    if (busy[slot]) {
      return;
    }
    int kind = random.nextInt(16);
    int count = kind == 15 ? 1 + random.nextInt(64) : 1 + random.nextInt(6);
    int from = random.nextInt(4) == 0 ? random.nextInt(BLOCKS - count + 1) : (int) ((primary.epoch() / 16 * 37 + random.nextInt(96)) % (BLOCKS - count));
    int op =
        kind < 9 || (kind == 15 && random.nextBoolean())
            ? BlockDevice.WRITE
            : kind < 11 ? BlockDevice.DISCARD : kind < 12 ? BlockDevice.ZEROES : kind < 13 ? BlockDevice.FLUSH : BlockDevice.READ;
    if ((op == BlockDevice.WRITE || op == BlockDevice.READ) && count * BLOCK > BUFFER) {
      count = BUFFER / BLOCK;
    }
    submit(slot, op, from, count);
  }

  private void submit(int slot, int op, int from, int count) {
    long at = buffers.hostVirt() + (long) slot * BUFFER;
    Write write = new Write();
    write.from = from;
    write.count = count;
    boolean changes = changes(op);
    if (changes && overlapsAnother(write)) {
      if (random.nextInt(4) != 0) {
        return; // rather not: nothing says which of the two remains
      }
      events.add(Kind.WRITE_OVER_WRITE);
    }
    if (op == BlockDevice.WRITE) {
      write.value = ++values;
      Memory.fill(at, (long) count * BLOCK, (byte) values);
      for (int i = 0; i < count; i++) {
        Memory.putLong(at + (long) i * BLOCK, write.value);
      }
    }
    boolean fua = changes && random.nextInt(8) == 0;
    busy[slot] = true;
    slotOp[slot] = op | (fua ? 16 : 0);
    slotWrite[slot] = write;
    if (op == BlockDevice.READ) {
      mayRead(slot, from, count);
    } else if (op == BlockDevice.FLUSH) {
      slotCovers[slot] = durable.covered();
    }
    boolean taken =
        primary.submit(op, fua ? BlockDevice.FUA : 0, op == BlockDevice.FLUSH ? 0 : (long) from * BLOCK, op == BlockDevice.FLUSH ? 0 : (long) count * BLOCK, at, slot);
    if (!taken) {
      throw broken("the disk refused a request with a place free");
    }
  }

  private static boolean changes(int op) {
    return op != BlockDevice.READ && op != BlockDevice.FLUSH;
  }

  private boolean overlapsAnother(Write write) {
    for (int slot = 0; slot < SLOTS; slot++) {
      if (busy[slot] && changes(slotOp[slot] & 15) && slotWrite[slot].overlaps(write)) {
        return true;
      }
    }
    return false;
  }

  /**
   * An image is given a write. Of writes that overlap it has one at a time, so this is the order that counts, and it is the disk that chose it.
   *
   * @param hostVirt the guest's buffer, by which its request is known
   */
  private void imageTakes(SimHost host, long hostVirt) {
    long slot = (hostVirt - buffers.hostVirt()) / BUFFER;
    if (host != primaryHost || slot < 0 || slot >= SLOTS) {
      return; // levelling, or a log that is applied
    }
    if (!busy[(int) slot] || slotWrite[(int) slot].begun) {
      throw broken("the image is given a write that the guest does not ask for");
    }
    begin(slotWrite[(int) slot]);
  }

  private void begin(Write write) {
    write.begun = true;
    for (int i = 0; i < write.count; i++) {
      begin(write.from + i, write.value);
    }
  }

  /** A write to a block begins: reads under way may see it. */
  private void begin(int block, long value) {
    durable.begin(block, value);
    for (int slot = 0; slot < SLOTS; slot++) {
      Write read = slotWrite[slot];
      if (busy[slot] && (slotOp[slot] & 15) == BlockDevice.READ && block >= read.from && block < read.from + read.count) {
        slotMay.get(slot).get(block - read.from).add(value);
      }
    }
  }

  /** A read may give what is there, or what is being written or will be before it ends. */
  private void mayRead(int slot, int from, int count) {
    List<Set<Long>> may = new ArrayList<>();
    for (int block = from; block < from + count; block++) {
      Set<Long> values = new HashSet<>(Set.of(view[block]));
      for (int other = 0; other < SLOTS; other++) {
        int op = slotOp[other] & 15;
        Write write = slotWrite[other];
        boolean writes = busy[other] && op != BlockDevice.READ && op != BlockDevice.FLUSH;
        if (writes && block >= write.from && block < write.from + write.count) {
          values.add(write.value);
        }
      }
      may.add(values);
    }
    slotMay.set(slot, may);
  }

  private void checkRead(int slot) {
    Write read = slotWrite[slot];
    for (int i = 0; i < read.count; i++) {
      long at = buffers.hostVirt() + (long) slot * BUFFER + (long) i * BLOCK;
      long found = Memory.getLong(at);
      Set<Long> may = slotMay.get(slot).get(i);
      if (may.size() > 1) {
        events.add(Kind.READ_OVER_WRITE);
      }
      if (!may.contains(found) || Memory.getByte(at + BLOCK - 1) != (byte) found) {
        throw broken("read of block " + (read.from + i) + " gave " + found + ", could be " + may);
      }
    }
  }

  private void completed(long tag, int error) {
    int slot = (int) tag;
    int op = slotOp[slot] & 15;
    Write write = slotWrite[slot];
    busy[slot] = false;
    if (op == BlockDevice.FLUSH) {
      flushSeen = true;
      if (error == 0) {
        durable.flushed(slotCovers[slot]);
      }
    } else if (op == BlockDevice.READ) {
      if (error == 0) {
        checkRead(slot);
      }
    } else if (error == 0) {
      if (!write.begun) {
        begin(write); // the image has failed: it went into the ring, and that was all
      }
      for (int i = 0; i < write.count; i++) {
        view[write.from + i] = write.value;
        durable.complete(write.from + i, (slotOp[slot] & 16) != 0);
      }
    }
    if (error != 0 && !primary.isImageFailed()) {
      throw broken("request failed with " + error + " on a good disk");
    }
  }

  // ---- the hosts ----

  private void seal() {
    long epoch = primary.epoch();
    Snapshot snapshot = new Snapshot(view);
    for (int slot = 0; slot < SLOTS; slot++) {
      if (busy[slot] && changes(slotOp[slot] & 15)) {
        snapshot.add(slotWrite[slot]);
      }
    }
    snapshots.put(epoch, snapshot);
    snapshots.remove(epoch - 128);
    if (flushSeen) {
      flushedEpochs.add(epoch);
      flushSeen = false;
    }
    primary.seal(epoch);
    opened = epoch + 1;
    events.add(Kind.EPOCH);
  }

  private void poll() {
    now += 100;
    primary.poll(this::completed, now);
    StandbyDisk other = standby;
    if (other != null) {
      other.poll();
      // Memory becomes whole some time after its seal, the acknowledgement arrives some time after that.
      if (memoryWhole < opened - 1 && random.nextInt(3) == 0) {
        memoryWhole++;
      }
      long whole = memoryWhole;
      while (whole > acknowledged && !other.isWhole(whole)) {
        whole--;
      }
      if (whole > acknowledged && other.isLevel()) {
        other.committed(whole);
        acknowledged = whole;
      }
    }
    if (primary.isLevel() && !wasLevel) {
      events.add(Kind.LEVEL);
      events.add(otherHost == b ? Kind.LEVELLED_THERE : Kind.LEVELLED_BACK);
    }
    wasLevel = primary.isLevel();
  }

  private void connect() {
    if (standby != null || primary.isImageFailed() || !otherUsable) {
      return;
    }
    if (!otherHost.formatted) {
      format(otherHost, Generations.NONE);
    }
    mutate(otherHost);
    SimLink newForward = new SimLink(random);
    SimLink newBack = new SimLink(random);
    forward = newForward;
    back = newBack;
    WriteLog log = writeLog();
    standby =
        StandbyDisk.open(
            otherHost.image, otherHost.meta, otherHost.log, log, config, new DiskChannel(newBack.sender, newForward.receiver, 1));
    primary.attach(new DiskChannel(newForward.sender, newBack.receiver, 1));
    memoryWhole = primary.epoch() - 1;
    acknowledged = -1;
    verifying = false;
  }

  private WriteLog writeLog() {
    return switch (mutation) {
      case APPLY_BEFORE_COMMIT ->
          new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, BUFFER) {
            @Override
            long nextToApply(long committedEpoch) {
              return super.nextToApply(Long.MAX_VALUE);
            }
          };
      case REPLAY_A_DROPPED_EPOCH ->
          new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, BUFFER) {
            @Override
            int batchEntries(long end) {
              return super.batchEntries(Long.MAX_VALUE);
            }

            @Override
            void encodeBatch(long at, int count, long logId, long number, long seal, long base) {
              super.encodeBatch(at, count, logId, number, seal < 0 ? seal : Long.MAX_VALUE, base);
            }
          };
      default -> new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, BUFFER);
    };
  }

  private void cut() {
    if (forward != null && back != null) {
      forward.cut();
      back.cut();
    }
  }

  private void dropStandby(boolean power) {
    cut();
    StandbyDisk other = standby;
    if (other != null) {
      boolean level = other.isLevel();
      countDeathWhileLevelling(Kind.STANDBY_DIED_LEVELLING);
      other.close();
      standby = null;
      stop(otherHost, power);
      if (level && config.durable() && otherHost.image.error == 0) {
        checkReplay();
      }
    }
    goAlone();
  }

  private void countDeathWhileLevelling(Kind kind) {
    if (primary.isMirroring() && !primary.isLevel()) {
      events.add(kind);
    }
  }

  /**
   * A level standby with durability = disk died: when its host starts, the image is the guest's view at one epoch, not before the newest
   * acknowledged one in which the guest flushed; also when it loses power while it repeats its log, or right after that.
   */
  private void checkReplay() {
    if (!otherHost.wasLevel()) {
      return; // it had not recorded that it is: nobody may start from it
    }
    otherHost.log.liesAboutOps = mutation == Mutation.REPLAY_AN_UNFLUSHED_LOG ? 1 << BlockDevice.FLUSH : 0;
    for (int deaths = random.nextInt(3); deaths > 0; deaths--) {
      otherHost.image.writesUntilPowerLoss = random.nextInt(8 << random.nextInt(8)); // in what the image had already, or in what is new
      try {
        otherHost.replay();
      } catch (SimDevice.PowerLostException e) {
        events.add(Kind.DIED_REPLAYING);
      }
      otherHost.losePower();
    }
    if (otherHost.replay() > 0) {
      events.add(Kind.LOG_REPLAYED);
    }
    otherHost.log.liesAboutOps = 0;
    long from = java.util.Objects.requireNonNullElse(flushedEpochs.floor(acknowledged), 0L);
    for (long epoch = opened - 1; epoch >= Math.max(0, from); epoch--) {
      Snapshot snapshot = snapshots.get(epoch);
      if (snapshot != null && firstDifference(otherHost, snapshot) < 0) {
        return;
      }
    }
    Snapshot last = snapshots.get(opened - 1);
    throw broken(
        "the log of a standby that died gives the image of no epoch from " + from + " to " + (opened - 1) + (last == null ? "" : ", block " + firstDifference(otherHost, last)));
  }

  private void goAlone() {
    primary.standAlone(identifiers++);
    for (int i = 0; !primary.isIdentityDurable(); i++) {
      poll();
      if (primary.isImageFailed()) {
        return;
      }
      if (i > 100_000) {
        throw broken("the identity does not become durable");
      }
    }
  }

  private void stop(SimHost host, boolean power) {
    if (power) {
      events.add(Kind.POWER_LOSS);
      host.losePower();
    } else {
      host.stop();
    }
  }

  /** The primary's host dies: its standby takes over if it may, or the primary comes back as it is. */
  private void killPrimary(boolean power) {
    lastReason = primary.reason();
    countDeathWhileLevelling(Kind.PRIMARY_DIED_LEVELLING);
    cut();
    primary.close();
    stop(primaryHost, power);
    StandbyDisk other = standby;
    boolean wasPromotable = acknowledged >= 0;
    if (other != null && other.isLevel() && wasPromotable) {
      promote(other);
      return;
    }
    if (primary.isImageFailed() && !lastReason.contains("serves")) {
      over = true; // it failed before anything had noticed that the standby was gone: two faults at once
      return;
    }
    if (primary.isImageFailed()) {
      throw broken("the image failed and the standby, which served the guest, cannot take over: " + lastReason + "\n  " + other);
    }
    if (other != null) {
      other.close();
      standby = null;
      stop(otherHost, false);
    }
    clearGuest();
    long next = opened;
    primary = openPrimary(primaryHost, next);
    if (power) {
      checkAfterPowerLoss();
    }
    for (int block = 0; block < BLOCKS; block++) {
      view[block] = primaryHost.image.value((long) block * BLOCK);
      if (power) {
        durable.reset(block, view[block]);
      } else {
        durable.found(block, view[block]);
      }
    }
    goAlone();
  }

  private void checkAfterPowerLoss() {
    for (int block = 0; block < BLOCKS; block++) {
      long found = primaryHost.image.value((long) block * BLOCK);
      if (!durable.possible(block).contains(found)) {
        throw broken("block " + block + " is " + found + " after a loss of power, could be " + durable.possible(block));
      }
    }
  }

  private void clearGuest() {
    Arrays.fill(busy, false);
  }

  private void promote(StandbyDisk other) {
    long epoch = acknowledged;
    // A later epoch may be whole here although the primary never heard of it.
    while (epoch < memoryWhole && other.isWhole(epoch + 1) && random.nextBoolean()) {
      epoch++;
    }
    if (mutation == Mutation.CLEAN_BEFORE_DURABLE) {
      otherHost.image.liesAboutOps = 0;
    }
    if (!other.promote(epoch)) {
      throw broken("the standby refuses to be promoted at epoch " + epoch);
    }
    for (int i = 0; !other.isReadyToTakeOver(); i++) {
      other.poll();
      if (i > 100_000) {
        throw broken("the promotion does not end");
      }
    }
    Snapshot snapshot = snapshots.get(epoch);
    if (snapshot == null) {
      throw broken("no snapshot of epoch " + epoch);
    }
    check(otherHost, snapshot, epoch);
    List<Write> told = new ArrayList<>();
    other.inFlight(
        epoch,
        (tag, op, flags, offset, bytes) -> {
          if (op != BlockDevice.READ && op != BlockDevice.FLUSH) {
            Write write = new Write();
            write.from = (int) (offset / BLOCK);
            write.count = (int) (bytes / BLOCK);
            told.add(write);
          }
        });
    if (told.size() != snapshot.inFlight.size()) {
      throw broken("the seal names " + told.size() + " writes in flight, the guest has " + snapshot.inFlight.size());
    }
    events.add(Kind.PROMOTION);
    if (mutation == Mutation.FORGET_DISCARD) {
      otherHost.image.liesAboutOps = 0;
    }
    primary = other.takeOver(identifiers++);
    standby = null;
    SimHost old = primaryHost;
    primaryHost = otherHost;
    otherHost = old;
    if (otherHost.image.error != 0) {
      otherHost.image.error = 0; // the cable was put back: its metadata must know that it does not count
    }
    opened = epoch + 1;
    flushedEpochs.tailSet(opened).clear();
    acknowledged = -1;
    clearGuest();
    for (int i = 0; !primary.isIdentityDurable(); i++) {
      poll();
      if (i > 100_000) {
        throw broken("the identity does not become durable");
      }
    }
    // What was in flight is issued again by the guest's device, from its own memory.
    System.arraycopy(snapshot.view, 0, view, 0, BLOCKS);
    // Everything that was ever acknowledged as flushed is on this disk, which was flushed while it took over.
    for (int block = 0; block < BLOCKS; block++) {
      durable.reset(block, view[block]);
    }
    for (Write write : snapshot.inFlight) {
      reissue(write);
    }
  }

  private void reissue(Write write) {
    int slot = 0;
    while (busy[slot]) {
      slot++;
    }
    long at = buffers.hostVirt() + (long) slot * BUFFER;
    boolean data = write.value != 0;
    if (data) {
      for (int i = 0; i < write.count; i++) {
        Memory.fill(at + (long) i * BLOCK, BLOCK, (byte) write.value);
        Memory.putLong(at + (long) i * BLOCK, write.value);
      }
    }
    busy[slot] = true;
    slotOp[slot] = data ? BlockDevice.WRITE : BlockDevice.ZEROES;
    write.begun = false;
    slotWrite[slot] = write;
    primary.submit(slotOp[slot], 0, (long) write.from * BLOCK, (long) write.count * BLOCK, at, slot);
  }

  private void check(SimHost host, Snapshot snapshot, long epoch) {
    int block = firstDifference(host, snapshot);
    if (block >= 0) {
      long found = host.image.value((long) block * BLOCK);
      throw broken("block " + block + " is " + found + " on the promoted disk of epoch " + epoch + ", it held " + snapshot.view[block]);
    }
  }

  /** The first block that is not what the disk held there, or −1. */
  private static int firstDifference(SimHost host, Snapshot snapshot) {
    for (int block = 0; block < BLOCKS; block++) {
      if (host.image.value((long) block * BLOCK) != snapshot.view[block]) {
        return block;
      }
    }
    return -1;
  }

  /** Lets everything come to rest and compares the disks byte by byte. */
  private void compareAtRest() {
    StandbyDisk other = standby;
    if (other == null || !primary.isLevel() || primary.isImageFailed()) {
      return;
    }
    guestStopped = true;
    for (int i = 0; i < 20_000; i++) {
      poll();
      if (primary.wantsSeal() && i % 4 == 0) {
        seal();
      }
      if (i % 16 == 0 && primary.inFlight() == 0 && primary.isMirroring() && acknowledged >= opened - 1 && other.pendingWrites() > 0) {
        seal();
      }
      if (!primary.isMirroring() || primary.isImageFailed()) {
        break; // an image that fails now is noticed when it is read to be verified
      }
      if (primary.inFlight() == 0 && acknowledged == opened - 1 && other.pendingWrites() == 0 && i % 16 != 0) {
        if (!verifying) {
          seal(); // what came after the last seal
          verifying = primary.startVerify();
          continue;
        }
        if (primary.resync().isVerifying()) {
          continue;
        }
        verifying = false;
        verifiedClean = primary.resync().differing() == 0;
        long mismatch = Memory.mismatch(a.image.contents(), b.image.contents(), GEOMETRY.bytes());
        if (mismatch >= 0) {
          throw broken("the disks differ at block " + mismatch / BLOCK + ": " + a.image.value(mismatch & -BLOCK) + " and " + b.image.value(mismatch & -BLOCK));
        }
        if (!verifiedClean) {
          throw broken("verify names " + primary.resync().differing() + " blocks, the disks are equal");
        }
        for (int block = 0; block < BLOCKS; block++) {
          if (a.image.value((long) block * BLOCK) != view[block]) {
            throw broken("block " + block + " is not what the guest wrote");
          }
        }
        events.add(Kind.COMPARED_AT_REST);
        break;
      }
      if (i == 19_999) {
        throw broken("nothing comes to rest: " + primary.reason() + " / " + other.reason() + "\n  " + primary + "\n  " + other + "\n  opened " + opened + " memory " + memoryWhole + " acknowledged " + acknowledged);
      }
    }
    guestStopped = false;
    verifying = false;
  }

  /** Runs until that many epochs were sealed. */
  void run(long epochsWanted) {
    long target = events.count(Kind.EPOCH) + epochsWanted;
    while (events.count(Kind.EPOCH) < target && !over) {
      step();
    }
  }

  private void step() {
    for (int i = random.nextInt(4); i >= 0; i--) {
      guestStep();
    }
    poll();
    if ((random.nextInt(3) == 0 || primary.wantsSeal()) && isWindowOpen()) {
      seal();
    }
    StandbyDisk other = standby;
    if (other == null) {
      if (waitPolls > 0) {
        waitPolls--;
      } else {
        connect();
      }
    } else if (!primary.isMirroring() && !primary.reason().isEmpty()) {
      // suspended or refused: the standby is taken away and comes back later
      dropStandby(false);
      waitPolls = random.nextInt(200);
    }
    fault();
  }

  private boolean isWindowOpen() {
    StandbyDisk other = standby;
    return other == null || !primary.isLevel() || opened - Math.max(acknowledged, other.levelEpoch()) < EPOCHS_IN_FLIGHT_MAX;
  }

  private void fault() {
    int dice = random.nextInt(6000);
    if (dice < 8) {
      compareAtRest();
    } else if (dice < 11) {
      killPrimary(random.nextBoolean());
      waitPolls = random.nextInt(200);
    } else if (dice < 14) {
      if (standby != null && !isImageBad()) {
        dropStandby(random.nextBoolean());
        waitPolls = random.nextInt(200);
      }
    } else if (dice < 16) {
      if (standby != null && !isImageBad()) {
        cutWithArbiter();
      }
    } else if (dice < 17) {
      if (primary.isLevel() && acknowledged >= 0 && !primary.isImageFailed()) {
        primaryHost.image.error = random.nextBoolean() ? -5 : -28;
        events.add(Kind.IMAGE_FAILED);
      }
    } else if (dice < 18) {
      if (standby != null && !isImageBad()) {
        failStandby();
      }
    } else if (dice < 19) {
      if (primary.isLevel() && standby != null && !isImageBad()) {
        diverge();
      }
    } else if (dice < 21) {
      (random.nextBoolean() ? primaryHost : otherHost).image.sleepPolls = random.nextInt(60);
    }
    if (primary.isMirroring() && !primary.isLevel() && !isImageBad() && random.nextInt(800) == 0) {
      if (random.nextBoolean()) {
        killPrimary(random.nextBoolean());
      } else {
        dropStandby(random.nextBoolean());
      }
      waitPolls = random.nextInt(200);
    }
    if (primary.isImageFailed() && random.nextInt(100) == 0) {
      killPrimary(false);
      waitPolls = random.nextInt(50);
    }
  }

  private boolean isImageBad() {
    return primary.isImageFailed() || primaryHost.image.error != 0;
  }

  /** Both live, the link is cut: the arbiter lets one go on. */
  private void cutWithArbiter() {
    if (random.nextBoolean()) {
      dropStandby(false);
    } else {
      killPrimary(false); // fenced
    }
    waitPolls = random.nextInt(200);
  }

  /** A person starts the machine on the other host too, which was cut off: both write, and neither may be levelled from the other. */
  private void diverge() {
    dropStandby(false);
    if (!otherHost.wasLevel()) {
      return;
    }
    otherHost.force();
    MirroredDisk alone = MirroredDisk.open(otherHost.image, otherHost.meta, config, opened);
    alone.standAlone(identifiers++);
    long at = buffers.hostVirt() + (long) SLOTS * BUFFER;
    Memory.fill(at, BLOCK, (byte) -1);
    int[] answers = {0};
    for (int i = 0; i < 4; i++) {
      alone.submit(BlockDevice.WRITE, 0, (long) random.nextInt(BLOCKS) / 4 * 4 * BLOCK + (long) i * BLOCK, BLOCK, at, i);
    }
    while (answers[0] < 4 || !alone.isIdentityDurable()) {
      alone.poll((tag, error) -> answers[0]++, now);
    }
    alone.close();
    stop(otherHost, false);
    connect();
    for (int i = 0; primary.isConnected() || primary.reason().isEmpty(); i++) {
      if (primary.isMirroring() || i > 10_000) {
        throw broken("two histories meet and nobody refuses: " + primary);
      }
      guestStep();
      poll();
    }
    StandbyDisk refused = java.util.Objects.requireNonNull(standby);
    for (int i = 0; i < 1000 && refused.reason().isEmpty(); i++) {
      refused.poll();
    }
    if (!primary.reason().equals(DiskHello.DIVERGED)) {
      throw broken("two histories meet, refused because: " + primary.reason());
    }
    events.add(Kind.DIVERGED_AND_REFUSED);
    refused.close();
    standby = null;
    stop(otherHost, false);
    otherHost.discard();
    waitPolls = random.nextInt(100);
  }

  private void failStandby() {
    otherHost.image.error = random.nextBoolean() ? -5 : -28;
    for (int i = 0; i < 3000 && primary.isMirroring() && !primary.isImageFailed(); i++) {
      guestStep();
      poll();
      if (i % 4 == 0) {
        seal();
      }
    }
    otherHost.image.error = 0;
    StandbyDisk other = standby;
    boolean suspended = other != null && !primary.isMirroring();
    if (suspended) {
      events.add(Kind.STANDBY_FAILED);
      dropStandby(false);
      if (random.nextBoolean()) {
        otherHost.replace();
      }
    }
    waitPolls = random.nextInt(100);
  }

  @Override
  public void close() {
    cut();
    StandbyDisk other = standby;
    if (other != null) {
      other.close();
    }
    primary.close();
    for (SimHost host : new SimHost[] {a, b}) {
      host.free();
    }
    buffers.close();
  }
}
