package dev.dyad.engine.memory;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * Where the frames of an open epoch go that is larger than the link's ring, so that the ring's size does not bound an epoch. One range of
 * addresses as large as the bound; memory is behind it only as far as an epoch ever reached, less what {@link #clear} gives back.
 *
 * <p>Thread: the standby's ship thread.
 */
final class EpochBuffer implements AutoCloseable {
  private final Mapping mapping;
  private final long bytesMax;
  private final long keepBytes;
  private long used;

  /**
   * @param bytesMax bound
   * @param keepBytes memory that is kept from epoch to epoch
   */
  EpochBuffer(long bytesMax, long keepBytes) {
    this.bytesMax = bytesMax / Mapping.PAGE_BYTES * Mapping.PAGE_BYTES;
    this.keepBytes = Math.min(this.bytesMax, (keepBytes + Mapping.PAGE_BYTES - 1) / Mapping.PAGE_BYTES * Mapping.PAGE_BYTES);
    mapping = Mapping.anonymous(Math.max(Mapping.PAGE_BYTES, this.bytesMax));
  }

  long bytesMax() {
    return bytesMax;
  }

  long hostVirt() {
    return mapping.hostVirt();
  }

  long used() {
    return used;
  }

  /** Appends a copy. @return false, with nothing done, when the bound is reached */
  boolean append(long source, long bytes) {
    if (used + bytes > bytesMax) {
      return false;
    }
    Memory.copy(source, mapping.hostVirt() + used, bytes);
    used += bytes;
    return true;
  }

  void clear() {
    if (used > keepBytes) {
      mapping.advise(keepBytes, bytesMax - keepBytes, linux_h.MADV_DONTNEED());
    }
    used = 0;
  }

  @Override
  public void close() {
    mapping.close();
  }
}
