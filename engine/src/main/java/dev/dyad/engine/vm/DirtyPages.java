package dev.dyad.engine.vm;

/**
 * A set of pages as runs of the flat page space ({@link GuestMemory}), in the order in which they were found.
 *
 * <p>Filled by a hypervisor's dirty tracker, read by the copy and the encoder. One owner at a time; nothing is allocated after
 * construction. A run is one long: page number above, count − 1 below.
 */
public final class DirtyPages {
  private static final int COUNT_BITS = 16;
  private static final int RUN_PAGES_MAX = 1 << COUNT_BITS;

  private final long[] runs;
  private int size;
  private long pages;

  /**
   * @param runsMax bound on the number of runs
   */
  public DirtyPages(int runsMax) {
    runs = new long[runsMax];
  }

  public void clear() {
    size = 0;
    pages = 0;
  }

  /**
   * Adds {@code count} pages from {@code firstPage}; a run that continues the last one is merged into it.
   *
   * @return false, with nothing added, when the bound on runs is reached
   */
  public boolean add(long firstPage, long count) {
    long first = firstPage;
    long left = count;
    int sizeBefore = size;
    long lastBefore = size > 0 ? runs[size - 1] : 0;
    if (size > 0 && firstPage(lastBefore) + pageCount(lastBefore) == first) {
      int room = RUN_PAGES_MAX - pageCount(lastBefore);
      int merged = (int) Math.min(room, left);
      runs[size - 1] = lastBefore + merged;
      first += merged;
      left -= merged;
    }
    while (left > 0) {
      if (size == runs.length) {
        size = sizeBefore;
        if (sizeBefore > 0) {
          runs[sizeBefore - 1] = lastBefore;
        }
        return false;
      }
      int pagesOfRun = (int) Math.min(RUN_PAGES_MAX, left);
      runs[size++] = (first << COUNT_BITS) | (pagesOfRun - 1);
      first += pagesOfRun;
      left -= pagesOfRun;
    }
    pages += count;
    return true;
  }

  /**
   * Adds single pages, in their order, as {@link #add} does.
   *
   * @return how many of them; fewer than {@code count} when the bound on runs is reached
   */
  public int addEach(int[] singles, int count) {
    int runCount = size; // and not the field: the compiler would write it back and read it again for each page
    int added = 0;
    for (; added < count; added++) {
      long page = singles[added];
      long last = runCount > 0 ? runs[runCount - 1] : 0;
      if (runCount > 0 && firstPage(last) + pageCount(last) == page && pageCount(last) < RUN_PAGES_MAX) {
        runs[runCount - 1] = last + 1;
      } else if (runCount < runs.length) {
        runs[runCount++] = page << COUNT_BITS;
      } else {
        break;
      }
    }
    size = runCount;
    pages += added;
    return added;
  }

  public int runCount() {
    return size;
  }

  /** Number of pages over all runs. */
  public long pageCount() {
    return pages;
  }

  public boolean isEmpty() {
    return size == 0;
  }

  /** Run {@code index}, to be read with {@link #firstPage(long)} and {@link #pageCount(long)}. */
  public long run(int index) {
    return runs[index];
  }

  public static long firstPage(long run) {
    return run >>> COUNT_BITS;
  }

  public static int pageCount(long run) {
    return (int) (run & (RUN_PAGES_MAX - 1)) + 1;
  }
}
