package dev.dyad.engine.disk;

/**
 * Makes a standby's image durable as of an epoch when the primary asked for it, and, at the one that makes it level, records that: whose
 * data it is now, and that its own marks count no more. Owned by a {@link StandbyDisk}. Thread: disk.
 *
 * <pre>
 *   applied → flushed → [level: superblock durable → own marks forgotten] → the primary may be told
 * </pre>
 */
final class StandbyCheckpoint {
  private static final long NONE = ReceivedEpochs.NONE;
  private static final int NO_MORE = Superblock.INCONSISTENT | Superblock.DISCARD_MINE | Superblock.FAILED | Superblock.PEER_VOID;

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final BlockMap ownMarks;
  private final StandbyGreeting greeting;
  private long epoch = NONE;
  private boolean flushing;
  private boolean flushed;
  private long levelTicket = NONE;
  private boolean forgetting;

  StandbyCheckpoint(BlockDevice image, DiskMetadata metadata, BlockMap ownMarks, StandbyGreeting greeting) {
    this.image = image;
    this.metadata = metadata;
    this.ownMarks = ownMarks;
    this.greeting = greeting;
  }

  /** The primary asks for it with the seal of that epoch. */
  void begin(long ofEpoch) {
    epoch = ofEpoch;
    flushing = false;
    flushed = false;
  }

  boolean isUnderWay() {
    return epoch != NONE;
  }

  boolean isFlushing() {
    return epoch != NONE && flushing && !flushed;
  }

  /** The flush of the image has ended. */
  void imageFlushed() {
    flushed = true;
  }

  /**
   * One step.
   *
   * @param appliedThrough the newest epoch of which nothing is left to apply
   * @param levelEpoch the one whose checkpoint makes this disk level
   * @return the epoch that became durable, or NONE
   */
  long turn(long appliedThrough, long levelEpoch, long flushTag) {
    if (!flushing && appliedThrough >= epoch) {
      flushing = image.submit(BlockDevice.FLUSH, 0, 0, 0, 0, flushTag);
    }
    if (!flushed || (epoch == levelEpoch && !isLevelRecorded())) {
      return NONE;
    }
    long durable = epoch;
    epoch = NONE;
    return durable;
  }

  private boolean isLevelRecorded() {
    if (levelTicket == NONE) {
      levelTicket = greeting.becomeLevel(Superblock.RECEIVING, NO_MORE);
    }
    if (!metadata.isDurable(levelTicket) || metadata.isForgetting()) {
      return false;
    }
    if (!forgetting) {
      ownMarks.clear();
      metadata.forgetMarks();
      forgetting = true;
      return false;
    }
    return true;
  }

  @Override
  public String toString() {
    return epoch == NONE ? "no checkpoint" : "checkpoint " + epoch + (flushed ? " flushed" : flushing ? " flushing" : "");
  }
}
