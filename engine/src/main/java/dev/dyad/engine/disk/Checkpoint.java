package dev.dyad.engine.disk;

/**
 * Makes what was sent durable on both sides, so that its marks can be taken back: a seal asks the standby for it, our own image is flushed
 * meanwhile. At most one is under way. Owned by a {@link MirroredDisk}. Thread: disk.
 */
final class Checkpoint {
  private static final long NONE = -1;

  private final long periodNanos;
  private long epoch = NONE;
  private boolean levels;
  private boolean peerDurable;
  private boolean flushStarted;
  private boolean flushed;
  private long lastNanos;

  /** Tells our flushes apart: one of a checkpoint that was abandoned may end during the next one and proves nothing there. */
  private int number;

  Checkpoint(long periodNanos) {
    this.periodNanos = periodNanos;
  }

  boolean isUnderWay() {
    return epoch != NONE;
  }

  boolean isDue(long nowNanos) {
    return nowNanos - lastNanos >= periodNanos;
  }

  /**
   * @param ofEpoch the one whose seal asks for it
   * @param makesLevel whether the standby is level when it has it
   */
  void begin(long ofEpoch, boolean makesLevel, long nowNanos) {
    epoch = ofEpoch;
    levels = makesLevel;
    peerDurable = false;
    flushStarted = false;
    flushed = false;
    lastNanos = nowNanos;
    number++;
  }

  void abandon() {
    epoch = NONE;
  }

  /** The standby has everything up to that epoch durably. */
  void peerDurable(long upTo) {
    if (upTo == epoch) {
      peerDurable = true;
    }
  }

  /** Starts our own flush, once; all writes that it must cover have ended. */
  void flush(BlockDevice image, long tag) {
    if (!flushStarted) {
      flushStarted = image.submit(BlockDevice.FLUSH, 0, 0, 0, 0, tag | Integer.toUnsignedLong(number));
    }
  }

  /** A flush has ended. */
  void flushed(int ofNumber) {
    if (ofNumber == number) {
      flushed = true;
    }
  }

  boolean isDone() {
    return epoch != NONE && peerDurable && flushed;
  }

  /** Ends it; whether it made the standby level. */
  boolean end() {
    epoch = NONE;
    return levels;
  }

  @Override
  public String toString() {
    return epoch == NONE ? "no checkpoint" : "checkpoint " + epoch + " peer durable " + peerDurable + " flushed " + flushed;
  }
}
