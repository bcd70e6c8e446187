package dev.dyad.engine.disk;

import static dev.dyad.engine.disk.BlockDevice.FLUSH;
import static dev.dyad.engine.disk.BlockDevice.READ;
import static dev.dyad.engine.disk.BlockDevice.WRITE;

import dev.dyad.bindings.linux.Mapping;

/**
 * The log file of a standby: appends batches of a {@link WriteLog}, one at a time, makes them durable, starts over when nothing in it is
 * needed. Owns the device. What it is for after a loss of power: {@link LogReplay}.
 */
final class LogFile implements BlockDevice.Completions, AutoCloseable {
  private static final long TAG_HEAD = 1;
  private static final long TAG_DATA = 2;
  private static final long TAG_FLUSH = 3;
  private static final long TAG_LOAD = 4;
  private static final int HEAD = WriteLog.BATCH_HEAD_BYTES;

  private final BlockDevice device;
  private final WriteLog log;
  private final Mapping memory;
  private final long headBuffer;
  private final long loadBuffer;
  private final int loadBytesMax;

  private long logId;
  private long number;
  private long position;
  private int writing;
  private int batchEntries;
  private long batchPosition;
  private long sealWritten = -1;
  private long sealWriting = -1;
  private long sealTailWriting;

  /** Entries before this one were sealed in the file. */
  private long sealedEntries;

  private boolean flushing;
  private long sealFlushing = -1;
  private long sealDurable = -1;
  private boolean loading;
  private boolean loaded;
  private int error;

  LogFile(BlockDevice device, WriteLog log, int loadBytesMax, long logId) {
    this.device = device;
    this.log = log;
    this.loadBytesMax = loadBytesMax;
    this.logId = logId;
    memory = Mapping.anonymous(HEAD + (long) loadBytesMax);
    headBuffer = memory.hostVirt();
    loadBuffer = headBuffer + HEAD;
  }

  int error() {
    return error;
  }

  long bytes() {
    return device.bytes();
  }

  long logId() {
    return logId;
  }

  /** Whether there is room for one more batch of the largest size. */
  boolean hasRoom() {
    return position + HEAD + loadBytesMax <= device.bytes();
  }

  /** Whether the file has writes after its last seal: they count for nothing until the next. */
  boolean isBetweenSeals() {
    return log.needsFile() && log.loggedThrough() > sealedEntries;
  }

  /** The newest epoch whose writes and seal are durable here. */
  long sealDurable() {
    return sealDurable;
  }

  boolean isBusy() {
    return writing > 0 || flushing;
  }

  /** Whether no batch is under way, and there is room for one. */
  boolean mayAppend() {
    return writing == 0 && error == 0 && hasRoom();
  }

  /**
   * Appends the next batch.
   *
   * @param seal the epoch that is whole when all entries before {@code sealTail} are in the file
   * @param end entries from this one on are not wanted there
   * @param base see {@link WriteLog#encodeBatch}
   * @return false when one is under way, there is no room, or nothing to append
   */
  boolean append(long seal, long sealTail, long end, long base) {
    if (!mayAppend()) {
      return false;
    }
    int count = log.batchEntries(end);
    boolean seals = seal > sealWritten && log.loggedThrough() + count >= sealTail;
    if (count == 0 && !seals) {
      return false;
    }
    int bytes = log.batchBytes(count);
    log.encodeBatch(headBuffer, count, logId, number, seals ? seal : -1, base);
    if (!device.submit(WRITE, 0, position, HEAD, headBuffer, TAG_HEAD)) {
      return false;
    }
    log.batchBegun();
    writing = 1;
    if (bytes > 0) {
      if (!device.submit(WRITE, 0, position + HEAD, bytes, log.batchData(), TAG_DATA)) {
        throw new IllegalStateException("the log device takes fewer than 2 requests at once");
      }
      writing = 2;
    }
    batchEntries = count;
    batchPosition = position + HEAD;
    sealWriting = seals ? seal : -1;
    sealTailWriting = sealTail;
    position += HEAD + bytes;
    number++;
    return true;
  }

  /** Makes what was appended durable; false while a batch or another flush is under way or nothing is new. */
  boolean flush() {
    if (writing > 0 || flushing || error != 0 || sealWritten <= sealDurable) {
      return false;
    }
    sealFlushing = sealWritten;
    flushing = device.submit(FLUSH, 0, 0, 0, 0, TAG_FLUSH);
    return flushing;
  }

  /** Starts over: nothing in the file is needed, and {@code newLogId} is durable in the superblock. */
  void restart(long newLogId) {
    logId = newLogId;
    number = 0;
    position = 0;
  }

  long position() {
    return position;
  }

  /** Reads an entry's data back; its address is {@link #loadedData} once {@link #isLoaded}. */
  boolean load(long at, int bytes) {
    if (loading) {
      return false;
    }
    loaded = false;
    loading = device.submit(READ, 0, at, bytes, loadBuffer, TAG_LOAD);
    return loading;
  }

  boolean isLoaded() {
    return loaded;
  }

  long loadedData() {
    return loadBuffer;
  }

  void unload() {
    loaded = false;
  }

  /** Names what wakes when something has completed. */
  void rest(DiskRest rest) {
    device.rest(rest);
  }

  int poll() {
    return device.poll(this);
  }

  @Override
  public void completed(long tag, int result) {
    if (result < 0) {
      error = error == 0 ? result : error;
      return;
    }
    if (tag == TAG_FLUSH) {
      flushing = false;
      sealDurable = sealFlushing;
    } else if (tag == TAG_LOAD) {
      loading = false;
      loaded = true;
    } else if (--writing == 0) {
      log.batchWritten(batchEntries, batchPosition);
      if (sealWriting >= 0) {
        sealWritten = sealWriting;
        sealedEntries = sealTailWriting;
      }
    }
  }

  @Override
  public String toString() {
    return "[at " + position + " seal written " + sealWritten + " durable " + sealDurable + (isBusy() ? " busy" : "") + "]";
  }

  @Override
  public void close() {
    device.close();
    memory.close();
  }
}
