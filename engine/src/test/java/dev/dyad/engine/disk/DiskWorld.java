package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.ArrayList;
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
 * <p>Checked: a promoted disk is exactly the guest's view at the seal of its epoch, but for requests in flight there; reads see the
 * guest's view; what was flushed survives a loss of power; two level disks are equal when nothing moves.
 */
final class DiskWorld implements AutoCloseable {
  static final int BLOCK = 512;
  static final int BLOCKS = 1024;
  static final DiskGeometry GEOMETRY = new DiskGeometry((long) BLOCKS * BLOCK, BLOCK, 64 * BLOCK, 4);
  private static final int SLOTS = 16;
  private static final int BUFFER = 16 << 10;

  /** A fault in the engine that the checks must find. */
  enum Mutation {
    NONE,
    APPLY_BEFORE_COMMIT,
    SKIP_ACTIVITY_LOG,
    FORGET_DISCARD,
    FORGET_FLUSH
  }

  private static final class Host {
    final SimDevice image;
    final SimDevice meta;
    final SimDevice log;
    boolean formatted;

    Host(Random random) {
      image = new SimDevice(GEOMETRY.bytes(), random);
      meta = new SimDevice(GEOMETRY.metadataBytes(), random);
      log = new SimDevice(1 << 20, random);
    }

    void sleep(int polls) {
      image.sleepPolls = polls;
    }
  }

  private static final class Write {
    int from;
    int count;
    long value;
  }

  private static final class Snapshot {
    final long[] view;
    final List<Write> inFlight = new ArrayList<>();

    Snapshot(long[] view) {
      this.view = view.clone();
    }
  }

  private final long seed;
  private final Random random;
  private final Mutation mutation;
  private final MirrorConfig config;
  private final Host a;
  private final Host b;
  private Host primaryHost;
  private Host otherHost;
  private MirroredDisk primary;
  private @Nullable StandbyDisk standby;
  private @Nullable SimLink forward;
  private @Nullable SimLink back;
  private int waitPolls;
  private boolean otherUsable = true;
  private long identifiers = 1;
  private long now;

  // the guest
  private final Mapping buffers = Mapping.anonymous((long) SLOTS * BUFFER);
  private final boolean[] busy = new boolean[SLOTS];
  private final int[] slotOp = new int[SLOTS];
  private final Write[] slotWrite = new Write[SLOTS];
  private final long[][] slotView = new long[SLOTS][];
  private final long[] view = new long[BLOCKS];
  private final int[] writers = new int[BLOCKS];

  /** How many writes to a block were ever begun. */
  private final long[] touched = new long[BLOCKS];

  private final Map<Integer, Set<Long>> sinceFlush = new HashMap<>();
  private final long[] flushed = new long[BLOCKS];
  private long values;
  private long opened;
  private long memoryWhole = -1;
  private long acknowledged = -1;
  private final Map<Long, Snapshot> snapshots = new HashMap<>();
  private boolean guestStopped;

  // what happened
  long epochs;
  long promotions;
  long levels;
  long equalChecks;
  long verifies;
  long takeovers;
  long powerLosses;
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
    a = new Host(random);
    b = new Host(random);
    format(a, Generations.first(identifiers++));
    format(b, Generations.NONE);
    primaryHost = a;
    otherHost = b;
    primary = openPrimary(a, 0);
  }

  private void format(Host host, Generations generations) {
    host.meta.liesAboutOps = 0;
    DiskMetadata.format(host.meta, GEOMETRY, 7, 7, generations);
    host.formatted = true;
  }

  private MirroredDisk openPrimary(Host host, long epoch) {
    mutate(host);
    if (mutation == Mutation.FORGET_DISCARD) {
      host.image.liesAboutOps = 0; // the standby forgets it
    }
    return MirroredDisk.open(host.image, host.meta, config, epoch);
  }

  private void mutate(Host host) {
    if (mutation == Mutation.SKIP_ACTIVITY_LOG) {
      host.meta.liesAboutOps = 1 << BlockDevice.WRITE;
      host.meta.liesFrom = GEOMETRY.activityOffset(0, 0);
      host.meta.liesTo = GEOMETRY.bitmapOffset(0);
    } else if (mutation == Mutation.FORGET_DISCARD) {
      host.image.liesAboutOps = 1 << BlockDevice.DISCARD;
    } else if (mutation == Mutation.FORGET_FLUSH) {
      host.image.liesAboutOps = 1 << BlockDevice.FLUSH;
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
    boolean changes = op != BlockDevice.READ && op != BlockDevice.FLUSH;
    if (changes) {
      for (int i = 0; i < count; i++) {
        if (writers[from + i] > 0) {
          return; // a sane guest does not write a block twice at once
        }
      }
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
    if (changes) {
      for (int i = 0; i < count; i++) {
        writers[from + i]++;
        touched[from + i]++;
        sinceFlush.computeIfAbsent(from + i, k -> new HashSet<>()).add(write.value);
      }
    } else if (op == BlockDevice.READ) {
      slotView[slot] = new long[count];
      for (int i = 0; i < count; i++) {
        slotView[slot][i] = writers[from + i] > 0 ? -1 : touched[from + i];
      }
    } else {
      // A flush covers what has completed by now.
      slotView[slot] = view.clone();
    }
    boolean taken =
        primary.submit(op, fua ? BlockDevice.FUA : 0, op == BlockDevice.FLUSH ? 0 : (long) from * BLOCK, op == BlockDevice.FLUSH ? 0 : (long) count * BLOCK, at, slot);
    if (!taken) {
      throw broken("the disk refused a request with a place free");
    }
  }

  private void completed(long tag, int error) {
    int slot = (int) tag;
    int op = slotOp[slot] & 15;
    Write write = slotWrite[slot];
    busy[slot] = false;
    if (op == BlockDevice.FLUSH) {
      if (error == 0) {
        for (int block = 0; block < BLOCKS; block++) {
          flushed[block] = slotView[slot][block];
          Set<Long> since = sinceFlush.get(block);
          if (since != null) {
            if (writers[block] == 0 && view[block] == flushed[block]) {
              sinceFlush.remove(block);
            }
          }
        }
      }
    } else if (op == BlockDevice.READ) {
      long at = buffers.hostVirt() + (long) slot * BUFFER;
      for (int i = 0; error == 0 && i < write.count; i++) {
        long found = Memory.getLong(at + (long) i * BLOCK);
        int block = write.from + i;
        // Blocks that are or were written meanwhile may show either.
        boolean quiet = slotView[slot][i] == touched[block];
        if (quiet && found != view[block]) {
          throw broken("read of block " + block + " gave " + found + ", written was " + view[block]);
        }
      }
    } else {
      for (int i = 0; i < write.count; i++) {
        writers[write.from + i]--;
        if (error == 0) {
          view[write.from + i] = write.value;
          if ((slotOp[slot] & 16) != 0) {
            flushed[write.from + i] = write.value;
          }
        }
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
      int op = slotOp[slot] & 15;
      if (busy[slot] && op != BlockDevice.READ && op != BlockDevice.FLUSH) {
        snapshot.inFlight.add(slotWrite[slot]);
      }
    }
    snapshots.put(epoch, snapshot);
    snapshots.remove(epoch - 128);
    primary.seal(epoch);
    opened = epoch + 1;
    epochs++;
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
      levels++;
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
    WriteLog log =
        mutation == Mutation.APPLY_BEFORE_COMMIT
            ? new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, BUFFER) {
              @Override
              long nextToApply(long committedEpoch) {
                return super.nextToApply(Long.MAX_VALUE);
              }
            }
            : new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, BUFFER);
    standby =
        StandbyDisk.open(
            otherHost.image, otherHost.meta, otherHost.log, log, config, new DiskChannel(newBack.sender, newForward.receiver, 1));
    primary.attach(new DiskChannel(newForward.sender, newBack.receiver, 1));
    memoryWhole = primary.epoch() - 1;
    acknowledged = -1;
    verifying = false;
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
      other.close();
      standby = null;
      stop(otherHost, power);
    }
    goAlone();
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

  private void stop(Host host, boolean power) {
    if (power) {
      powerLosses++;
      host.image.losePower();
      host.meta.losePower();
      host.log.losePower();
    } else {
      host.image.stop();
      host.meta.stop();
      host.log.stop();
    }
  }

  /** The primary's host dies: its standby takes over if it may, or the primary comes back as it is. */
  private void killPrimary(boolean power) {
    lastReason = primary.reason();
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
      flushed[block] = view[block];
    }
    sinceFlush.clear();
    goAlone();
  }

  private void checkAfterPowerLoss() {
    for (int block = 0; block < BLOCKS; block++) {
      long found = primaryHost.image.value((long) block * BLOCK);
      Set<Long> since = sinceFlush.get(block);
      if (found != flushed[block] && found != view[block] && (since == null || !since.contains(found))) {
        throw broken("block " + block + " is " + found + " after a loss of power, flushed was " + flushed[block]);
      }
    }
  }

  private void clearGuest() {
    java.util.Arrays.fill(busy, false);
    java.util.Arrays.fill(writers, 0);
  }

  private void promote(StandbyDisk other) {
    long epoch = acknowledged;
    // A later epoch may be whole here although the primary never heard of it.
    while (epoch < memoryWhole && other.isWhole(epoch + 1) && random.nextBoolean()) {
      epoch++;
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
    promotions++;
    if (mutation == Mutation.FORGET_DISCARD) {
      otherHost.image.liesAboutOps = 0;
    }
    primary = other.takeOver(identifiers++);
    standby = null;
    Host old = primaryHost;
    primaryHost = otherHost;
    otherHost = old;
    if (otherHost.image.error != 0) {
      otherHost.image.error = 0; // the cable was put back: its metadata must know that it does not count
    }
    opened = epoch + 1;
    acknowledged = -1;
    clearGuest();
    for (int i = 0; !primary.isIdentityDurable(); i++) {
      poll();
      if (i > 100_000) {
        throw broken("the identity does not become durable");
      }
    }
    // What was in flight is issued again by the guest's device, from its own memory; until then a block is either.
    System.arraycopy(snapshot.view, 0, view, 0, BLOCKS);
    for (Write write : snapshot.inFlight) {
      reissue(write);
    }
    // Everything that was ever acknowledged as flushed is on this disk, which was flushed while it took over.
    System.arraycopy(view, 0, flushed, 0, BLOCKS);
    sinceFlush.clear();
    for (Write write : snapshot.inFlight) {
      for (int i = 0; i < write.count; i++) {
        sinceFlush.computeIfAbsent(write.from + i, k -> new HashSet<>()).add(write.value);
      }
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
    slotWrite[slot] = write;
    for (int i = 0; i < write.count; i++) {
      writers[write.from + i]++;
      touched[write.from + i]++;
    }
    primary.submit(slotOp[slot], 0, (long) write.from * BLOCK, (long) write.count * BLOCK, at, slot);
  }

  private void check(Host host, Snapshot snapshot, long epoch) {
    for (int block = 0; block < BLOCKS; block++) {
      long found = host.image.value((long) block * BLOCK);
      if (found == snapshot.view[block]) {
        continue;
      }
      boolean inFlight = false;
      for (Write write : snapshot.inFlight) {
        inFlight |= block >= write.from && block < write.from + write.count && found == write.value;
      }
      if (!inFlight) {
        throw broken("block " + block + " is " + found + " on the promoted disk of epoch " + epoch + ", the guest had " + snapshot.view[block]);
      }
    }
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
      if (i % 16 == 0 && primary.inFlight() == 0 && primary.isMirroring() && acknowledged >= opened - 1 && other.pendingWrites() > 0) {
        seal();
      }
      if (!primary.isMirroring()) {
        break;
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
        verifies++;
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
        equalChecks++;
        break;
      }
      if (i == 19_999) {
        throw broken("nothing comes to rest: " + primary.reason() + " / " + other.reason() + "\n  " + other);
      }
    }
    guestStopped = false;
    verifying = false;
  }

  /** Runs until that many epochs were sealed. */
  void run(long epochsWanted) {
    long target = epochs + epochsWanted;
    while (epochs < target && !over) {
      step();
    }
  }

  private void step() {
    for (int i = random.nextInt(4); i >= 0; i--) {
      guestStep();
    }
    poll();
    if (random.nextInt(3) == 0) {
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
        takeovers++;
      }
    } else if (dice < 18) {
      if (standby != null && !isImageBad()) {
        failStandby();
      }
    } else if (dice < 20) {
      (random.nextBoolean() ? primaryHost : otherHost).sleep(random.nextInt(60));
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

  private void failStandby() {
    otherHost.image.error = -5;
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
      dropStandby(false);
      if (random.nextBoolean()) {
        otherHost.image.replace();
        otherHost.meta.replace();
        otherHost.log.replace();
        otherHost.formatted = false;
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
    for (Host host : new Host[] {a, b}) {
      host.image.free();
      host.meta.free();
      host.log.free();
    }
    buffers.close();
  }
}
