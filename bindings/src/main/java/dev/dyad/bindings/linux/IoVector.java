package dev.dyad.bindings.linux;

import dev.dyad.bindings.abi.linux.iovec;
import dev.dyad.bindings.abi.linux.linux_h;
import java.lang.foreign.Arena;

/**
 * A list of memory ranges for one vectored call, filled, used and cleared again without allocation. iovec(3type).
 *
 * <p>One thread. Ranges that touch are joined, so that sequential pages cost one entry.
 */
public final class IoVector implements AutoCloseable {

  private static final long ENTRY_BYTES = iovec.sizeof();
  private static final long BASE = iovec.iov_base$offset();
  private static final long LENGTH = iovec.iov_len$offset();

  private final Arena arena = Arena.ofShared();
  private final int capacity;
  private final long entries;
  private int first;
  private int end;
  private long bytes;
  private long lastEnd;

  /** @param capacity ranges, at most the kernel's 1,024 (UIO_MAXIOV) */
  public IoVector(int capacity) {
    if (capacity < 1 || capacity > linux_h.DYAD_IOV_MAX()) {
      arena.close();
      throw new IllegalArgumentException("1 to " + linux_h.DYAD_IOV_MAX() + " ranges, not " + capacity);
    }
    this.capacity = capacity;
    this.entries = arena.allocate(capacity * ENTRY_BYTES, 16).address();
  }

  public void clear() {
    first = 0;
    end = 0;
    bytes = 0;
    lastEnd = 0;
  }

  /** Appends a range of at least one byte; false, and nothing appended, when the list is full. */
  public boolean add(long virt, long length) {
    if (end > first && virt == lastEnd) {
      long at = entries + (end - 1) * ENTRY_BYTES + LENGTH;
      Memory.putLong(at, Memory.getLong(at) + length);
    } else if (end == capacity) {
      return false;
    } else {
      long at = entries + end * ENTRY_BYTES;
      Memory.putLong(at + BASE, virt);
      Memory.putLong(at + LENGTH, length);
      end++;
    }
    lastEnd = virt + length;
    bytes += length;
    return true;
  }

  /** True when a range that touches no other would not be taken. */
  public boolean isFull() {
    return end == capacity;
  }

  /** Drops the first {@code count} bytes, after a call that took only these. */
  public void consume(long count) {
    bytes -= count;
    long left = count;
    while (left > 0) {
      long at = entries + first * ENTRY_BYTES;
      long length = Memory.getLong(at + LENGTH);
      if (left < length) {
        Memory.putLong(at + BASE, Memory.getLong(at + BASE) + left);
        Memory.putLong(at + LENGTH, length - left);
        return;
      }
      left -= length;
      first++;
    }
  }

  /** Address of the first entry that is left. */
  public long hostVirt() {
    return entries + first * ENTRY_BYTES;
  }

  /** Entries that are left. */
  public int count() {
    return end - first;
  }

  /** Bytes that are left. */
  public long bytes() {
    return bytes;
  }

  @Override
  public void close() {
    arena.close();
  }
}
