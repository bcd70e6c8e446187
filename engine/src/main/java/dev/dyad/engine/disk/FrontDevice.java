package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.EIO;

/**
 * What a guest's door to its disk (NBD server, virtio device) is opened to before it is known what is behind it: at first the image as it
 * lies there, for reading only, and after a take-over the primary's disk. Thread: disk.
 *
 * <p>A machine that waits reads a little when it is built (its partition table, for the geometry). It writes nothing.
 */
public final class FrontDevice implements BlockDevice {
  private BlockDevice behind;
  private boolean readOnly = true;
  private Completions answers = (tag, error) -> {};

  /**
   * @param waiting read from until {@link #switchTo}; this object closes it
   */
  public FrontDevice(BlockDevice waiting) {
    behind = waiting;
  }

  /** Who hears of completions. */
  public void onCompletion(Completions listener) {
    answers = listener;
  }

  /** Whether nothing is under way, so that it may be switched. */
  public boolean isIdle() {
    return behind.inFlight() == 0;
  }

  /** From now on this is the disk; the one before is closed. */
  public void switchTo(BlockDevice disk) {
    if (disk.bytes() != behind.bytes() || disk.blockBytes() != behind.blockBytes()) {
      throw new IllegalArgumentException("a disk of " + disk.bytes() + " bytes in the place of one of " + behind.bytes());
    }
    behind.close();
    behind = disk;
    readOnly = false;
  }

  @Override
  public long bytes() {
    return behind.bytes();
  }

  @Override
  public int blockBytes() {
    return behind.blockBytes();
  }

  @Override
  public int queueDepth() {
    return behind.queueDepth();
  }

  @Override
  public int transferBytesMax() {
    return Math.min(behind.transferBytesMax(), MirroredDisk.TRANSFER_BYTES_MAX);
  }

  @Override
  public boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
    if (readOnly && op != READ && op != FLUSH) {
      answers.completed(tag, -EIO());
      return true;
    }
    return behind.submit(op, flags, offset, bytes, hostVirt, tag);
  }

  @Override
  public int poll(Completions completions) {
    return behind.poll(completions);
  }

  @Override
  public long extent(long offset, long bytes) {
    return behind.extent(offset, bytes);
  }

  @Override
  public void rest(DiskRest rest) {
    behind.rest(rest);
  }

  @Override
  public int inFlight() {
    return behind.inFlight();
  }

  /** Closes what it reads from while it waits; a disk that was switched to is its owner's. */
  @Override
  public void close() {
    if (readOnly) {
      behind.close();
    }
  }
}
