package dev.dyad.engine.node;

import dev.dyad.engine.vm.DirtyPages;

/** Walks over a set of pages in slices of a bounded number of pages, in order. Epoch thread; allocates nothing. */
final class PageSlices {
  private DirtyPages pages;
  private int run;
  private int done;
  private long left;

  PageSlices() {
    pages = new DirtyPages(1);
  }

  /** Starts over with {@code set}, which must not change until the walk is done. */
  void begin(DirtyPages set) {
    pages = set;
    run = 0;
    done = 0;
    left = set.pageCount();
  }

  /** Pages not yet handed out. */
  long left() {
    return left;
  }

  /**
   * Fills {@code slice} with the next pages.
   *
   * @return false, with an empty slice, when there are none
   */
  boolean next(DirtyPages slice, long pagesMax) {
    slice.clear();
    long room = pagesMax;
    while (room > 0 && run < pages.runCount()) {
      long current = pages.run(run);
      int count = (int) Math.min(room, DirtyPages.pageCount(current) - done);
      if (!slice.add(DirtyPages.firstPage(current) + done, count)) {
        break;
      }
      room -= count;
      done += count;
      if (done == DirtyPages.pageCount(current)) {
        run++;
        done = 0;
      }
    }
    left -= slice.pageCount();
    return !slice.isEmpty();
  }
}
