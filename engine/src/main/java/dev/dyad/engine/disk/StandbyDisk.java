package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.ReceivedEpochs.Taken;
import org.jspecify.annotations.Nullable;

/**
 * The standby's disk: keeps the writes of epochs that are not committed apart, applies an epoch's writes in order when it is, drops those
 * of an epoch that never was. Thread: disk.
 *
 * <pre>
 *   GREETING → LEVELLING → LEVEL → PROMOTING → TAKEN     any → FAILED (own disk), CLOSED (refused or lost)
 * </pre>
 *
 * <p>While levelling, nothing can be taken over from this disk anyway, so epochs are applied as they are sealed. From the seal that says
 * LEVEL on, only what is committed reaches the image.
 *
 * <p>This class is the turn of the disk thread, the states, and what the epoch loop asks. The rest has a class for each role:
 *
 * <pre>
 *   StandbyGreeting  who we are, who the primary is     ReceivedEpochs     the open epoch, seals, requests in flight
 *   WriteLog         what is not applied yet            LogSpill, LogFile  what of it goes to a file; its bytes there
 *   LogApplier       from the log to the image          StandbyCheckpoint  durable, and level
 *   StandbyReads     what the primary asks to be read   EpochLimits        what of all that counts
 *   StandbyReport    what it is told                    LogReplay          what was whole when the power was lost
 * </pre>
 *
 * <p>Must never happen: a write of an uncommitted epoch reaches the image once the disk is level; DURABLE is said before a flush that
 * began after everything up to that epoch was applied.
 */
public final class StandbyDisk implements StandbyEpochs, AutoCloseable {
  // Whose request the image completes.
  private static final long KIND_APPLY = 1L << 56;
  private static final long KIND_READ = 2L << 56;
  private static final long KIND_CHECKPOINT = 3L << 56;
  private static final long KIND_PROMOTION = 4L << 56;
  private static final long KIND_RESTART = 5L << 56;
  private static final long KIND_MASK = 0xffL << 56;
  private static final long NONE = ReceivedEpochs.NONE;

  private enum State {
    GREETING,
    LEVELLING,
    LEVEL,
    PROMOTING,
    TAKEN,
    FAILED,
    CLOSED
  }

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final MirrorConfig config;
  private final DiskChannel channel;
  private final WriteLog log;
  private final @Nullable LogFile logFile;
  private final @Nullable LogSpill spill;
  private final BlockMap ownMarks;
  private final StandbyGreeting greeting;
  private final ReceivedEpochs received;
  private final StandbyReads reads;
  private final LogApplier applier;
  private final EpochLimits limits;
  private final StandbyCheckpoint checkpoint;
  private final StandbyReport report = new StandbyReport();
  private final BlockDevice.Completions fromImage = this::imageCompleted;
  private final java.util.function.LongPredicate mayDrain = this::mayDrain;

  private State state = State.GREETING;
  private String reason = "";
  private long receivingTicket = Long.MAX_VALUE;
  private boolean promotionFlushing;
  private boolean promotionFlushed;

  /**
   * Opens an image to receive.
   *
   * @param logDevice where epochs go that memory cannot hold, and all of them with durability = disk; null for memory alone
   */
  public static StandbyDisk open(
      BlockDevice image, BlockDevice meta, @Nullable BlockDevice logDevice, MirrorConfig config, DiskChannel channel) {
    if (config.durable() && logDevice == null) {
      throw new DiskRefusedException("durability = disk needs a log file on the standby: name one");
    }
    WriteLog log = new WriteLog(config.logMemoryBytes(), config.logEntries(), Math.max(image.blockBytes(), 512), image.transferBytesMax());
    return open(image, meta, logDevice, log, config, channel);
  }

  /** With a write log that is given; this disk owns it from now on. */
  static StandbyDisk open(
      BlockDevice image, BlockDevice meta, @Nullable BlockDevice logDevice, WriteLog log, MirrorConfig config, DiskChannel channel) {
    try {
      BlockMap[] marks = new BlockMap[1];
      DiskMetadata metadata =
          DiskMetadata.open(
              meta, image.bytes(), block -> 0, geometry -> marks[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
      replay(image, metadata, logDevice);
      BlockMap own = marks[0];
      metadata.marks(own::word);
      return new StandbyDisk(image, metadata, own, logDevice, log, config, channel);
    } catch (RuntimeException e) {
      log.close();
      if (logDevice != null) {
        logDevice.close();
      }
      throw e;
    }
  }

  private static void replay(BlockDevice image, DiskMetadata metadata, @Nullable BlockDevice logDevice) {
    if (!metadata.has(Superblock.LOGGED) || logDevice == null) {
      return;
    }
    try {
      LogReplay.run(logDevice, image, metadata.logId(), image.transferBytesMax());
    } catch (RuntimeException e) {
      metadata.close();
      throw e;
    }
  }

  private StandbyDisk(
      BlockDevice image,
      DiskMetadata metadata,
      BlockMap ownMarks,
      @Nullable BlockDevice logDevice,
      WriteLog log,
      MirrorConfig config,
      DiskChannel channel) {
    this.image = image;
    this.metadata = metadata;
    this.ownMarks = ownMarks;
    this.config = config;
    this.channel = channel;
    this.log = log;
    int block = metadata.geometry().blockBytes();
    LogFile file = logDevice == null ? null : new LogFile(logDevice, log, image.transferBytesMax(), metadata.logId() + 1);
    logFile = file;
    received = new ReceivedEpochs(log, image, config.requests());
    limits = new EpochLimits(received, config.durable() ? file : null);
    reads = new StandbyReads(image, log, block, Math.max(config.pieceBytes(), image.transferBytesMax()));
    applier = new LogApplier(image, log, file, reads, config.applyDepth());
    spill = file == null ? null : new LogSpill(image, metadata, log, file, received, reads, config);
    // Two epochs must fit, one being received while one is not committed, with room to spare.
    greeting = new StandbyGreeting(metadata, ownMarks, (config.logMemoryBytes() + (file == null ? 0 : file.bytes())) / 4);
    checkpoint = new StandbyCheckpoint(image, metadata, ownMarks, greeting);
  }

  /** One turn of the disk thread; the amount of work done. */
  public int poll() {
    if (state == State.TAKEN) {
      return 0;
    }
    int work = image.poll(fromImage) + metadata.poll();
    LogFile file = logFile;
    if (file != null) {
      work += file.poll();
      if (file.error() != 0) {
        fail(file.error());
      }
    }
    if (metadata.error() != 0) {
      fail(metadata.error());
    }
    if (state != State.CLOSED) {
      work += channel.poll();
      if (state == State.GREETING) {
        greeting.tell(channel);
      }
      if (state != State.FAILED && state != State.PROMOTING) {
        receive();
      }
      advance();
      report.turn(channel, received.sealed());
      if (!channel.isUp() && state != State.FAILED && state != State.PROMOTING && reason.isEmpty()) {
        reason = channel.failure();
      }
    }
    return work;
  }

  /** Hands over what was started and names what makes the next turn worth while. */
  public void rest(DiskRest rest) {
    if (state == State.TAKEN) {
      return;
    }
    image.rest(rest);
    metadata.rest(rest);
    LogFile file = logFile;
    if (file != null) {
      file.rest(rest);
    }
    if (state != State.CLOSED) {
      channel.rest(rest);
    }
  }

  /** What follows from what has come, from the log to the image and back to the primary. */
  private void advance() {
    LogSpill toFile = spill;
    boolean writes = state != State.FAILED && metadata.isDurable(receivingTicket);
    if (writes && toFile != null) {
      toFile.turn(limits.level(), KIND_RESTART);
    }
    if (writes && state != State.GREETING) {
      applier.turn(limits.mayApply(), KIND_APPLY);
    }
    int error = reads.turn(channel, KIND_READ, received.sealed());
    if (error < 0) {
      fail(error);
    }
    if (checkpoint.isUnderWay() && metadata.isDurable(receivingTicket) && state != State.FAILED && state != State.PROMOTING) {
      long durable = checkpoint.turn(log.appliedThrough(limits.mayApply()), limits.level(), KIND_CHECKPOINT);
      if (durable != NONE) {
        report.durable(durable);
      }
    }
    if (state == State.PROMOTING && !promotionFlushing && log.isEmpty() && !isFlushing()) {
      promotionFlushing = image.submit(BlockDevice.FLUSH, 0, 0, 0, 0, KIND_PROMOTION);
    }
  }

  private boolean isFlushing() {
    LogSpill toFile = spill;
    return checkpoint.isFlushing() || (toFile != null && toFile.isFlushing());
  }

  private void imageCompleted(long tag, int error) {
    long kind = tag & KIND_MASK;
    long index = tag & ~KIND_MASK;
    if (kind == KIND_READ) {
      reads.completed((int) index, error); // the primary hears of an error
      return;
    }
    if (kind == KIND_APPLY) {
      applier.completed(index);
    }
    if (error < 0) {
      fail(error);
    } else if (kind == KIND_CHECKPOINT) {
      checkpoint.imageFlushed();
    } else if (kind == KIND_PROMOTION) {
      promotionFlushed = true;
    } else if (kind == KIND_RESTART && spill != null) {
      spill.imageFlushed();
    }
  }

  private void fail(int error) {
    if (state == State.FAILED || state == State.TAKEN) {
      return;
    }
    state = State.FAILED;
    report.failed(error);
    reason = "this host's disk failed with " + Errno.name(-error) + ": replace it and start the standby again";
    metadata.update(metadata.generations(), Superblock.FAILED, 0, metadata.logId());
  }

  private void close(String why) {
    if (reason.isEmpty()) {
      reason = why;
    }
    state = State.CLOSED;
    channel.fail(why);
    channel.close();
  }

  // ---- the ring

  private void receive() {
    while (channel.receive()) {
      long at = channel.payload();
      int length = channel.length();
      long epoch = channel.epoch();
      Taken taken =
          switch (channel.type()) {
            case DISK_HELLO -> onHello(at, length);
            case DISK_WRITE -> isReceiving() ? received.write(at, length, epoch, mayDrain) : Taken.BAD;
            case DISK_CLEAR -> isReceiving() ? received.clear(at, length, epoch, mayDrain) : Taken.BAD;
            case DISK_SEAL -> isReceiving() ? onSeal(at, length, epoch) : Taken.BAD;
            case DISK_SUMS -> onSums(at, length);
            case DISK_READ -> onRead(at, length);
            case DISK_STATE -> onState(at, length);
            default -> Taken.BAD;
          };
      switch (taken) {
        case OK -> {}
        case LATER -> {
          return;
        }
        case TOO_LARGE -> close("epoch " + epoch + " is larger than the write log: shorten the period or give the log more room");
        case INCOMPLETE ->
            close("epoch " + epoch + " has " + received.frames() + " disk writes, its seal says " + Memory.getLong(at + dyad_disk_seal.frames$offset()));
        case BAD -> close("the primary's disk sent a " + channel.type() + " frame that does not fit");
      }
      if (state == State.CLOSED) {
        return;
      }
      channel.consume();
      if (state == State.FAILED) {
        return;
      }
    }
  }

  private Taken onHello(long at, int length) {
    if (state != State.GREETING || !greeting.answered(at, length)) {
      return Taken.BAD;
    }
    int decision = Memory.getInt(at + dyad_disk_hello.decision$offset());
    if (decision != DYAD_DISK_SYNC_ALL() && decision != DYAD_DISK_SYNC_DIFFERENCES()) {
      close(DiskHello.explain(decision));
      return Taken.OK;
    }
    LogFile file = logFile;
    int logged = config.durable() ? Superblock.LOGGED : 0; // a session before this one may have had the other durability
    int set = Superblock.INCONSISTENT | Superblock.RECEIVING | logged;
    receivingTicket = metadata.update(metadata.generations(), set, Superblock.LOGGED & ~logged, file == null ? metadata.logId() : file.logId());
    state = State.LEVELLING;
    return Taken.OK;
  }

  private boolean isReceiving() {
    return state == State.LEVELLING || state == State.LEVEL;
  }

  /** What waits to be applied makes room; an epoch that fills the log by itself never will. */
  private boolean mayDrain(long epoch) {
    LogFile file = logFile;
    boolean spills = file != null && file.error() == 0 && (file.hasRoom() || file.isBusy());
    return spills || log.hasEntriesThrough(epoch - 1) || applier.applying() > 0;
  }

  private Taken onSeal(long at, int length, long epoch) {
    Taken taken = received.seal(at, length, epoch);
    if (taken != Taken.OK) {
      return taken;
    }
    if ((received.sealFlags() & DYAD_DISK_SEAL_CHECKPOINT()) != 0) {
      checkpoint.begin(epoch);
    }
    if ((received.sealFlags() & DYAD_DISK_SEAL_LEVEL()) != 0) {
      limits.level(epoch);
      state = State.LEVEL;
    }
    return Taken.OK;
  }

  private Taken onSums(long at, int length) {
    int blocks = Memory.getInt(at + dyad_disk_sums.blocks$offset());
    long offset = Memory.getLong(at + dyad_disk_sums.offset$offset());
    int head = (int) dyad_disk_sums.sizeof();
    if (!isReceiving() || !reads.fits(blocks) || length != head + blocks * BlockSum.BYTES) {
      return Taken.BAD;
    }
    if (!received.isInside(offset, (long) blocks * metadata.geometry().blockBytes())) {
      return Taken.BAD;
    }
    int flags = Memory.getInt(at + dyad_disk_sums.flags$offset());
    return reads.compare(offset, blocks, flags, at + head) ? Taken.OK : Taken.LATER;
  }

  private Taken onRead(long at, int length) {
    long offset = Memory.getLong(at + dyad_disk_read.offset$offset());
    int bytes = Memory.getInt(at + dyad_disk_read.bytes$offset());
    boolean fits = length == dyad_disk_read.sizeof() && received.isInside(offset, bytes) && bytes <= image.transferBytesMax();
    if (state != State.LEVEL || !fits) {
      return Taken.BAD;
    }
    return reads.read(offset, bytes, Memory.getLong(at + dyad_disk_read.tag$offset())) ? Taken.OK : Taken.LATER;
  }

  private Taken onState(long at, int length) {
    if (length != dyad_disk_state.sizeof() || Memory.getInt(at + dyad_disk_state.kind$offset()) != DYAD_DISK_STATE_FAILED()) {
      return Taken.BAD;
    }
    metadata.update(metadata.generations(), Superblock.PEER_VOID, 0, metadata.logId());
    return Taken.OK;
  }

  // ---- the epoch loop's

  @Override
  public boolean isWhole(long epoch) {
    return state == State.LEVEL && limits.isWhole(epoch);
  }

  @Override
  public void committed(long epoch) {
    limits.committed(epoch);
  }

  @Override
  public boolean isLevel() {
    return state == State.LEVEL;
  }

  @Override
  public boolean promote(long epoch) {
    if (state != State.LEVEL || !limits.mayPromote(epoch)) {
      return false;
    }
    received.dropAfter(epoch);
    limits.promoted(epoch);
    state = State.PROMOTING;
    channel.close();
    return true;
  }

  @Override
  public boolean isReadyToTakeOver() {
    return state == State.PROMOTING && promotionFlushed && image.inFlight() == 0 && !metadata.isForgetting();
  }

  /**
   * Makes this disk a primary's, which owns the image and the metadata from then on.
   *
   * @param identifier of the data from now on, never used before
   */
  public MirroredDisk takeOver(long identifier) {
    if (!isReadyToTakeOver()) {
      throw new IllegalStateException("not promoted: " + state);
    }
    state = State.TAKEN;
    // That it is level may not be recorded yet, nor that it no longer counts as failed.
    int noMore = Superblock.INCONSISTENT | Superblock.DISCARD_MINE | Superblock.FAILED | Superblock.RECEIVING | Superblock.LOGGED;
    greeting.becomeLevel(0, noMore);
    ownMarks.clear();
    MirroredDisk disk = new MirroredDisk(image, metadata, config, ownMarks, limits.promoted() + 1);
    disk.standAlone(identifier);
    closeOwn();
    return disk;
  }

  @Override
  public void inFlight(long epoch, InFlight listener) {
    received.inFlight(epoch, listener);
  }

  @Override
  public String reason() {
    return reason;
  }

  /** The epoch from whose seal on this disk is level, −1 before. */
  public long levelEpoch() {
    return limits.level();
  }

  /** Whether the primary has taken this disk and what it sends arrives. */
  public boolean isConnected() {
    return isReceiving() && channel.isUp();
  }

  /** The newest epoch that was sealed here, −1 for none. */
  public long sealedEpoch() {
    return received.sealed();
  }

  /** Writes received and not applied. */
  public long pendingWrites() {
    return log.count();
  }

  /** The state in one line, for a failed test or a puzzled person. */
  @Override
  public String toString() {
    LogFile file = logFile;
    return state + " " + limits + " " + checkpoint + " applying " + applier.applying() + " log " + log + (file == null ? "" : " file " + file);
  }

  private void closeOwn() {
    LogFile file = logFile;
    if (file != null) {
      file.close();
    }
    log.close();
    received.close();
    reads.close();
  }

  @Override
  public void close() {
    if (state == State.TAKEN) {
      return;
    }
    state = State.TAKEN;
    channel.close();
    image.close();
    metadata.close();
    closeOwn();
  }
}
