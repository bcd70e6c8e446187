package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.engine.disk.Standing.Peer;

/**
 * The primary's disk: what the guest writes goes to the local image and, with its epoch, into the ring to the standby; it is answered when
 * it is on the local image. Thread: disk.
 *
 * <p>This class is the turn of the disk thread and the ends of epochs. The rest has a class for each role:
 *
 * <pre>
 *   GuestRequests    from intake to answer              DifferenceMarks  which blocks may differ, and why
 *   MirrorStream     frames of the open epoch           Checkpoint       marks that can be taken back
 *   StandbySession   the standby comes and goes         Resync, Leveller what is copied, and its reading and sending
 *   PrimaryGreeting  who it is, and what is compared    DiskMetadata     what is known durably, with the ActivityLog
 *   Standing         level? failed? why?
 * </pre>
 */
public final class MirroredDisk implements BlockDevice, DiskEpochs {
  /** Bound of one request: a frame of the ring. */
  static final int TRANSFER_BYTES_MAX = 128 << 10;

  // Whose request the image completes.
  private static final long KIND_REQUEST = 0;
  private static final long KIND_PIECE = 1;
  private static final long KIND_FLUSH = 2;
  private static final int KIND_SHIFT = 56;

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final DiskGeometry geometry;
  private final MirrorConfig config;
  private final Standing standing;
  private final DifferenceMarks marks;
  private final MirrorStream stream;
  private final Resync resync;
  private final GuestRequests requests;
  private final Leveller leveller;
  private final Checkpoint checkpoint;
  private final StandbySession session;
  private final Completions fromImage = this::imageCompleted;
  private final DiskRest rest = new DiskRest();

  private long identityTicket;
  /** Whether a standby may hold data under the identifier that is ours now. */
  private boolean identityShared;
  private long nowNanos;
  private boolean closed;

  /**
   * Opens the image as that of a primary.
   *
   * @param image the guest's data
   * @param meta its metadata, formatted before
   * @param firstEpoch the epoch that writes belong to from now on
   */
  public static MirroredDisk open(BlockDevice image, BlockDevice meta, MirrorConfig config, long firstEpoch) {
    BlockMap[] maps = new BlockMap[2];
    MirroredDisk[] self = new MirroredDisk[1];
    DiskMetadata metadata =
        DiskMetadata.open(
            meta,
            image.bytes(),
            block -> self[0].marks.word(block),
            geometry -> maps[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
    if (metadata.has(Superblock.INCONSISTENT | Superblock.RECEIVING | Superblock.FAILED)) {
      String found =
          metadata.has(Superblock.FAILED)
              ? "the image failed before"
              : metadata.has(Superblock.INCONSISTENT)
                  ? "the image was not level with its other side when that was lost"
                  : "the image was a standby's and may be between two epochs";
      metadata.close();
      throw new DiskRefusedException(found + ": start the machine on the other host, or declare this image good (dyad disk force)");
    }
    self[0] = new MirroredDisk(image, metadata, config, maps[0], firstEpoch);
    return self[0];
  }

  MirroredDisk(BlockDevice image, DiskMetadata metadata, MirrorConfig config, BlockMap marked, long firstEpoch) {
    this.image = image;
    this.metadata = metadata;
    this.config = config;
    geometry = metadata.geometry();
    standing = new Standing(metadata);
    marks = new DifferenceMarks(geometry, marked);
    stream = new MirrorStream(config, firstEpoch);
    resync = new Resync(geometry, config.pieceBytes(), config.resyncBytesPerSecond(), marks.dirty(), marks.compare());
    requests = new GuestRequests(image, metadata, marks, stream, resync, standing, config.requests());
    leveller = new Leveller(image, geometry, marks, stream, resync, requests.table());
    checkpoint = new Checkpoint(config.checkpointNanos());
    session = new StandbySession(metadata, config, transferBytesMax(), standing, marks, stream, resync, requests, checkpoint);
    identityShared = metadata.generations().base() == 0;
    metadata.marks(marks::word);
  }

  // ---- the guest's side

  /** Who hears of completions outside of {@link #poll(Completions)}. */
  public void onCompletion(Completions listener) {
    requests.onCompletion(listener);
  }

  @Override
  public long bytes() {
    return geometry.bytes();
  }

  @Override
  public int blockBytes() {
    return image.blockBytes();
  }

  @Override
  public int queueDepth() {
    return config.requests();
  }

  @Override
  public int transferBytesMax() {
    return Math.min(image.transferBytesMax(), TRANSFER_BYTES_MAX);
  }

  /** Of the local image, while that is what the guest reads. */
  @Override
  public long extent(long offset, long bytes) {
    return standing.isImageFailed() ? bytes : image.extent(offset, bytes);
  }

  @Override
  public int inFlight() {
    return requests.table().count();
  }

  @Override
  public boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
    boolean transfer = op == READ || op == WRITE;
    if (op != FLUSH
        && (offset < 0 || bytes <= 0 || offset + bytes > geometry.bytes() || (transfer && bytes > transferBytesMax()))) {
      throw new IllegalArgumentException("request of " + bytes + " bytes at " + offset + " on a disk of " + geometry.bytes());
    }
    return requests.submit(op, flags, offset, bytes, hostVirt, tag);
  }

  private void imageCompleted(long tag, int error) {
    long kind = tag >>> KIND_SHIFT;
    int index = (int) tag;
    if (kind == KIND_REQUEST) {
      requests.completed(index, error);
      return;
    }
    if (error < 0) {
      standing.failImage(error);
    }
    if (kind == KIND_PIECE) {
      resync.read(index, error);
    } else {
      checkpoint.flushed(index);
    }
  }

  /** Whether the guest is served by the standby's disk, or by none. */
  public boolean isImageFailed() {
    return standing.isImageFailed();
  }

  // ---- epochs

  @Override
  public void seal(long sealedEpoch) {
    seal(sealedEpoch, true, true);
  }

  @Override
  public void sealLevelling(boolean mayCheckpoint) {
    if (standing.peer() == Peer.LEVELLING && stream.hasRoomForSeals()) {
      seal(stream.epoch(), false, mayCheckpoint);
    }
  }

  private void seal(long sealedEpoch, boolean mayLevel, boolean mayCheckpoint) {
    if (sealedEpoch != stream.epoch()) {
      throw new IllegalStateException("seal of epoch " + sealedEpoch + ", open is " + stream.epoch());
    }
    if (standing.isMirroring() && !stream.seal(sealFlags(mayLevel && isCaughtUp(), mayCheckpoint), requests.table())) {
      session.sealDidNotFit();
    }
    stream.endEpoch();
  }

  /** What the seal of the open epoch asks of the standby besides; what that means here begins. */
  private int sealFlags(boolean becomesLevel, boolean mayCheckpoint) {
    boolean due = mayCheckpoint && checkpoint.isDue(nowNanos) && marks.isAnySent();
    if (checkpoint.isUnderWay() || standing.isImageFailed() || !(becomesLevel || due)) {
      return 0;
    }
    marks.settle();
    checkpoint.begin(stream.epoch(), becomesLevel, nowNanos);
    if (!becomesLevel) {
      return DYAD_DISK_SEAL_CHECKPOINT();
    }
    standing.become(Peer.CLOSING_UP);
    identityShared = true;
    return DYAD_DISK_SEAL_CHECKPOINT() | DYAD_DISK_SEAL_LEVEL();
  }

  private void checkpoint() {
    if (checkpoint.isUnderWay() && marks.isSettlingWritten()) {
      checkpoint.flush(image, KIND_FLUSH << KIND_SHIFT);
    }
    if (checkpoint.isDone()) {
      marks.settled();
      if (checkpoint.end()) {
        standing.become(Peer.LEVEL);
        identityTicket = metadata.update(metadata.generations().level(), 0, Superblock.PEER_VOID, metadata.logId());
      }
    }
  }

  @Override
  public long epoch() {
    return stream.epoch();
  }

  @Override
  public boolean isLevel() {
    return standing.isLevel();
  }

  @Override
  public boolean isCaughtUp() {
    return standing.peer() == Peer.LEVELLING && marks.behind() == 0 && !checkpoint.isUnderWay() && !standing.isImageFailed();
  }

  @Override
  public boolean isMirroring() {
    return standing.isMirroring();
  }

  @Override
  public boolean wantsSeal() {
    return standing.isMirroring() && stream.isEpochLarge();
  }

  @Override
  public String reason() {
    return standing.reason();
  }

  @Override
  public boolean needsIdentity() {
    return identityShared;
  }

  @Override
  public void standAlone(long identifier) {
    session.lose("no standby");
    identityShared = false;
    identityTicket = metadata.update(metadata.generations().alone(identifier), 0, 0, metadata.logId());
  }

  /**
   * From here on others write to the image, unseen: no side's marks tell what differs any more, so the next standby is compared as a
   * whole. {@link #isIdentityDurable} tells when that is recorded.
   */
  public void leaveToOthers(long identifier) {
    session.lose("no standby");
    identityTicket = metadata.update(metadata.generations().alone(identifier).level(), 0, 0, metadata.logId());
  }

  @Override
  public boolean isIdentityDurable() {
    return metadata.isDurable(identityTicket);
  }

  public Generations generations() {
    return metadata.generations();
  }

  /** Blocks that the standby lacks or may lack. */
  public long behindBlocks() {
    return marks.behind();
  }

  /** How levelling and verification go. */
  public Resync resync() {
    return resync;
  }

  /** How often a request waited because the ring was full. */
  public long ringFull() {
    return requests.stalls();
  }

  // ---- the standby comes and goes

  /** Takes a channel to a standby's disk; the disk owns it from now on. */
  public void attach(DiskChannel newChannel) {
    session.attach(newChannel);
  }

  /** Whether there is a channel to a standby's disk, accepted or not. */
  public boolean isConnected() {
    return standing.peer() != Peer.NONE;
  }

  /**
   * Compares both disks block by block while the guest runs; nothing is changed.
   *
   * @return false when the standby's disk is not level
   */
  public boolean startVerify() {
    if (!standing.isLevel() || standing.isImageFailed()) {
      return false;
    }
    resync.startVerify();
    return true;
  }

  // ---- the turn

  @Override
  public void await(long nanos) {
    rest(rest.begin());
    rest.sleep(nanos);
  }

  @Override
  public void rest(DiskRest sleep) {
    image.rest(sleep);
    metadata.rest(sleep);
    session.rest(sleep);
  }

  /** The clock for turns that come without one. */
  public void tick(long now) {
    nowNanos = now;
  }

  /** Everything but the clock: see {@link #poll(Completions, long)}. */
  @Override
  public int poll(Completions completions) {
    return poll(completions, nowNanos);
  }

  /** One turn of the disk thread. */
  public int poll(Completions completions, long now) {
    nowNanos = now;
    requests.onCompletion(completions);
    int work = image.poll(fromImage) + metadata.poll();
    if (metadata.error() != 0) {
      standing.failImage(metadata.error());
    }
    work += session.poll(now);
    requests.start();
    session.serve(now);
    if (isMirroring() && !isImageFailed()) {
      leveller.turn(now, KIND_PIECE << KIND_SHIFT, requests.isStalled());
      checkpoint();
    }
    marks.clean(metadata);
    if (work > 0) {
      image.poll(fromImage);
      session.push();
    }
    return work + requests.takeAnswered();
  }

  /** Whether nothing waits, runs or is being recorded. */
  public boolean isIdle() {
    return inFlight() == 0 && metadata.isIdle() && image.inFlight() == 0;
  }

  /** The state in one line, for a failed test or a puzzled person. */
  @Override
  public String toString() {
    return standing.peer() + " epoch " + stream.epoch() + " requests " + inFlight() + " queued " + requests.table().queued() + " " + marks + " "
        + checkpoint + " metadata idle " + metadata.isIdle() + " image in flight " + image.inFlight() + " " + resync;
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    session.lose("closed");
    image.close();
    metadata.close();
    resync.close();
    rest.close();
  }
}
