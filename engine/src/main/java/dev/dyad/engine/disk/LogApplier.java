package dev.dyad.engine.disk;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Writes to a standby's image what its log holds and may be there, in order, several at once where they do not overlap; what memory could
 * not keep is read back from the log file first. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class LogApplier {
  private static final long NONE = -1;

  private final BlockDevice image;
  private final WriteLog log;
  private final @Nullable LogFile file;
  private final StandbyReads reads;
  private final int depth;
  private int applying;
  private long loading = NONE;

  LogApplier(BlockDevice image, WriteLog log, @Nullable LogFile file, StandbyReads reads, int depth) {
    this.image = image;
    this.log = log;
    this.file = file;
    this.reads = reads;
    this.depth = depth;
  }

  /** Writes under way. */
  int applying() {
    return applying;
  }

  /**
   * Starts what may start; one place of the device stays free for a flush.
   *
   * @param limit the newest epoch whose writes may reach the image
   * @param tag of the image's completions, in which the entry is put
   */
  void turn(long limit, long tag) {
    while (applying < depth && image.inFlight() < image.queueDepth() - 1) {
      long entry = log.nextToApply(limit);
      if (entry < 0 || reads.isReading(log.offset(entry), log.bytes(entry))) {
        return;
      }
      long data = 0;
      if (log.isSpilled(entry)) {
        data = loaded(entry);
        if (data == 0) {
          return;
        }
      } else if (log.op(entry) == BlockDevice.WRITE) {
        data = log.data(entry);
      }
      if (!image.submit(log.op(entry), 0, log.offset(entry), log.bytes(entry), data, tag | entry)) {
        throw new IllegalStateException("the image took less than its queue depth");
      }
      log.applying(entry);
      applying++;
    }
  }

  /** Address of data that comes from the log file, 0 while it is being read. One at a time: the buffer is free when what it held is applied. */
  private long loaded(long entry) {
    LogFile from = Objects.requireNonNull(file);
    if (loading != entry) {
      if (applying == 0 && from.load(log.logAt(entry), (int) log.bytes(entry))) {
        loading = entry;
      }
      return 0;
    }
    if (!from.isLoaded()) {
      return 0;
    }
    loading = NONE;
    from.unload();
    return from.loadedData();
  }

  /** The image has done that entry. */
  void completed(long entry) {
    applying--;
    log.applied(entry);
  }
}
