package dev.dyad.engine.disk;

/**
 * What of a standby's write log goes to its file and when: all sealed epochs with durability = disk, else the oldest data when memory is
 * short; and when the file starts over. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class LogSpill {
  private static final long NONE = ReceivedEpochs.NONE;

  private final BlockDevice image;
  private final DiskMetadata metadata;
  private final WriteLog log;
  private final LogFile file;
  private final ReceivedEpochs received;
  private final StandbyReads reads;
  private final boolean durable;
  private final long memoryBytes;
  private long restartTicket = NONE;
  private boolean flushing;
  private boolean flushed;

  LogSpill(
      BlockDevice image, DiskMetadata metadata, WriteLog log, LogFile file, ReceivedEpochs received, StandbyReads reads, MirrorConfig config) {
    this.image = image;
    this.metadata = metadata;
    this.log = log;
    this.file = file;
    this.received = received;
    this.reads = reads;
    durable = config.durable();
    memoryBytes = config.logMemoryBytes();
  }

  LogFile file() {
    return file;
  }

  /**
   * One turn.
   *
   * @param levelEpoch from whose seal on the disk is level, NONE before
   * @param flushTag of the flush of the image that comes before the file starts over
   */
  void turn(long levelEpoch, long flushTag) {
    restart(flushTag);
    boolean memoryShort = log.count() > 0 && log.freeBytes() < memoryBytes / 4;
    long end = restartTicket != NONE || flushing || !file.mayAppend() ? NONE : wanted(levelEpoch, memoryShort);
    if (end != NONE) {
      long seal = levelEpoch == NONE ? NONE : received.sealedWithin(log.loggedThrough() + log.batchEntries(end), levelEpoch);
      file.append(seal, seal == NONE ? 0 : received.tailOf(seal), end, levelEpoch);
    }
    if (durable) {
      file.flush();
    }
    if (memoryShort && !reads.isAnyReading()) {
      log.freeLogged();
    }
  }

  /** Entries before the result belong into the file now; NONE for none. */
  private long wanted(long levelEpoch, boolean memoryShort) {
    if (!durable || levelEpoch == NONE) {
      return memoryShort ? log.tail() : NONE;
    }
    if (!isLate()) {
      return memoryShort ? log.tail() : received.sealedTail();
    }
    if (!file.isBetweenSeals()) {
      return NONE; // it starts over as soon as its content is applied
    }
    // The epoch that it has begun, and no other: who always begins another finds the file full, and no seal in it lets anything be applied.
    boolean isOpen = log.loggedThrough() > received.sealedTail();
    return isOpen && memoryShort ? log.tail() : received.endOf(log.loggedThrough(), levelEpoch);
  }

  private boolean isLate() {
    return file.position() > file.bytes() / 2;
  }

  private boolean isNeeded() {
    return log.needsFile() || file.isBusy();
  }

  /**
   * When the file is half full and nothing in it is needed, it starts over under a new number, which is durable before: with durability =
   * disk the image is flushed first, since the file is what it would be mended from.
   */
  private void restart(long flushTag) {
    if (restartTicket != NONE) {
      if (metadata.isDurable(restartTicket) && !isNeeded()) {
        file.restart(metadata.logId());
        restartTicket = NONE;
      }
      return;
    }
    if (flushing) {
      if (flushed) {
        flushing = false;
        if (!isNeeded()) {
          restartTicket = metadata.update(metadata.generations(), 0, 0, file.logId() + 1);
        }
      }
      return;
    }
    if (!isLate() || isNeeded()) {
      return;
    }
    if (!durable) {
      file.restart(file.logId());
      return;
    }
    flushed = false;
    flushing = image.submit(BlockDevice.FLUSH, 0, 0, 0, 0, flushTag);
  }

  boolean isFlushing() {
    return flushing && !flushed;
  }

  /** That flush of the image has ended. */
  void imageFlushed() {
    flushed = true;
  }
}
