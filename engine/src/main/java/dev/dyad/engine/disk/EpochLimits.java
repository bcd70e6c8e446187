package dev.dyad.engine.disk;

import org.jspecify.annotations.Nullable;

/**
 * What of the received epochs counts on a standby: from which on the disk is level, which are committed, which may reach the image, which
 * are whole for the acknowledgement. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class EpochLimits {
  private static final long NONE = ReceivedEpochs.NONE;

  private final ReceivedEpochs received;

  /** With durability = disk, else null. */
  private final @Nullable LogFile durableFile;

  private long level = NONE;
  private long committed = NONE;
  private long promoted = NONE;

  EpochLimits(ReceivedEpochs received, @Nullable LogFile durableFile) {
    this.received = received;
    this.durableFile = durableFile;
  }

  /** With the seal of that epoch the disk is level; up to there nothing could be taken over, so all of it may be applied. */
  void level(long epoch) {
    level = epoch;
    committed(epoch);
  }

  long level() {
    return level;
  }

  void committed(long epoch) {
    committed = Math.max(committed, epoch);
  }

  /** The primary is gone: that epoch is the last one. */
  void promoted(long epoch) {
    promoted = epoch;
  }

  long promoted() {
    return promoted;
  }

  private boolean isReceived(long epoch) {
    return level != NONE && epoch >= level && epoch <= received.sealed();
  }

  boolean mayPromote(long epoch) {
    return isReceived(epoch) && epoch >= committed;
  }

  /** Whether all writes of that epoch are here and, where the guest flushed and durability = disk, durable. */
  boolean isWhole(long epoch) {
    LogFile file = durableFile;
    return isReceived(epoch) && (file == null || received.flushed() == NONE || file.sealDurable() >= Math.min(epoch, received.flushed()));
  }

  /** The newest epoch whose writes may reach the image. Before the disk is level nobody takes over from it: all that is sealed. */
  long mayApply() {
    if (level == NONE) {
      return received.sealed();
    }
    long limit = promoted != NONE ? promoted : Math.min(committed, received.sealed());
    LogFile file = durableFile;
    // A log that is ahead of the image can be replayed; an image that is ahead of its log is between two epochs.
    return file == null ? limit : Math.min(limit, Math.max(level, file.sealDurable()));
  }

  @Override
  public String toString() {
    return "sealed " + received.sealed() + " level " + level + " committed " + committed + " flushed " + received.flushed() + " may apply " + mayApply();
  }
}
