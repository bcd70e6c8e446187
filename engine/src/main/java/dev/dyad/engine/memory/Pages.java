package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;

/** Looks at one 4 KiB page, eight words at a time. */
public final class Pages {
  static final int BYTES = GuestMemory.PAGE_BYTES;
  static final int LINE_BYTES = 64;
  static final int LINES = BYTES / LINE_BYTES;

  private Pages() {}

  /** Whether its first word is zero and each other one is as the one before it. */
  public static boolean isZero(long page) {
    return Memory.getLong(page) == 0 && Memory.equal(page, page + Long.BYTES, BYTES - Long.BYTES);
  }

  /** Distance of the first of these lines (at least one) from the page's start. The mask tells the compiler what it does not know of a count of zeros: its bound. */
  static long firstOffset(long lines) {
    return (Long.numberOfTrailingZeros(lines) & LINES - 1) * (long) LINE_BYTES;
  }

  /** Bit i: line i of the two pages differs. */
  static long linesThatDiffer(long page, long other) {
    long lines = 0;
    long base = Memory.base(page);
    long otherBase = Memory.base(other);
    for (int i = 0; i < LINES; i++) {
      long a = base + i * (long) LINE_BYTES;
      long b = otherBase + i * (long) LINE_BYTES;
      long bits =
          (Memory.getLong(a) ^ Memory.getLong(b))
              | (Memory.getLong(a + 8) ^ Memory.getLong(b + 8))
              | (Memory.getLong(a + 16) ^ Memory.getLong(b + 16))
              | (Memory.getLong(a + 24) ^ Memory.getLong(b + 24))
              | (Memory.getLong(a + 32) ^ Memory.getLong(b + 32))
              | (Memory.getLong(a + 40) ^ Memory.getLong(b + 40))
              | (Memory.getLong(a + 48) ^ Memory.getLong(b + 48))
              | (Memory.getLong(a + 56) ^ Memory.getLong(b + 56));
      // Without a branch: which lines were written is nothing that a processor could guess.
      lines |= ((bits | -bits) >>> 63) << i;
    }
    return lines;
  }
}
