package dev.dyad.engine.vm.kvm;

import dev.dyad.engine.vm.DirtyPages;
import java.util.Arrays;

/**
 * A set of page numbers that is cheap to fill, to empty and to ask: a bitmap, and beside it the pages in the order in which they
 * came while there are not too many of them; beyond that the bitmap is walked.
 *
 * <p>One thread at a time. Nothing is allocated after construction.
 */
public final class PageSet {
  private static final int LISTED_MAX = 1 << 16;

  private final long pages;
  private final long[] bits;
  private final int[] listed;
  private int count;
  private boolean overflown;

  public PageSet(long pages) {
    if (pages > Integer.MAX_VALUE) {
      throw new IllegalArgumentException("page set of " + pages + " pages exceeds the bound of " + Integer.MAX_VALUE);
    }
    this.pages = pages;
    bits = new long[Math.toIntExact((pages + 63) >>> 6)];
    listed = new int[(int) Math.min(LISTED_MAX, pages)];
  }

  long pages() {
    return pages;
  }

  boolean isEmpty() {
    return count == 0 && !overflown;
  }

  public void add(long page) {
    int word = (int) (page >>> 6);
    long bit = 1L << page;
    if ((bits[word] & bit) != 0) {
      return;
    }
    bits[word] |= bit;
    if (count < listed.length && !overflown) {
      listed[count++] = (int) page;
    } else {
      overflown = true;
    }
  }

  /** Adds the first {@code pageCount} of these, as {@link #add} does. */
  public void addEach(long[] some, int pageCount) {
    int listedCount = count; // and not the field: the compiler would write it back and read it again for each page
    for (int i = 0; i < pageCount; i++) {
      int word = (int) (some[i] >>> 6);
      long bit = 1L << some[i];
      long before = bits[word];
      if ((before & bit) != 0) {
        continue;
      }
      bits[word] = before | bit;
      if (listedCount < listed.length && !overflown) {
        listed[listedCount++] = (int) some[i];
      } else {
        overflown = true;
      }
    }
    count = listedCount;
  }

  boolean contains(long page) {
    return (bits[(int) (page >>> 6)] & 1L << page) != 0;
  }

  /** Takes one out; the set may then be asked, filled and emptied, but not moved. */
  void remove(long page) {
    bits[(int) (page >>> 6)] &= ~(1L << page);
  }

  void clear() {
    if (overflown) {
      Arrays.fill(bits, 0);
    } else {
      for (int i = 0; i < count; i++) {
        bits[listed[i] >>> 6] = 0;
      }
    }
    count = 0;
    overflown = false;
  }

  void moveTo(PageSet other) {
    if (overflown) {
      for (int word = 0; word < bits.length; word++) {
        for (long rest = bits[word]; rest != 0; rest &= rest - 1) {
          other.add(((long) word << 6) + Long.numberOfTrailingZeros(rest));
        }
      }
    } else {
      for (int i = 0; i < count; i++) {
        other.add(listed[i]);
      }
    }
    clear();
  }

  /**
   * Moves pages to {@code into} while there is room.
   *
   * @return false when some are left
   */
  public boolean moveTo(DirtyPages into) {
    return overflown ? moveWalked(into) : moveListed(into);
  }

  private boolean moveListed(DirtyPages into) {
    int moved = into.addEach(listed, count);
    for (int i = 0; i < moved; i++) {
      bits[listed[i] >>> 6] &= ~(1L << listed[i]);
    }
    System.arraycopy(listed, moved, listed, 0, count - moved);
    count -= moved;
    return count == 0;
  }

  private boolean moveWalked(DirtyPages into) {
    for (int word = 0; word < bits.length; word++) {
      while (bits[word] != 0) {
        int start = Long.numberOfTrailingZeros(bits[word]);
        int length = Long.numberOfTrailingZeros(~(bits[word] >>> start));
        if (!into.add(((long) word << 6) + start, length)) {
          return false;
        }
        bits[word] &= length == 64 ? 0 : ~(((1L << length) - 1) << start);
      }
    }
    count = 0;
    overflown = false;
    return true;
  }
}
