package dev.dyad.engine.vm.kvm;

/**
 * Ways to a shorter pause or a faster guest that have a price; docs/decisions/pause-techniques.md says what each is worth.
 *
 * @param hotPagesMax pages that may stay writable because they are written in every epoch anyway: they cost no fault and are sent always. With
 *     the dirty ring only; 0: none
 * @param copyOnWrite long runs of pages are copied after the guest has gone on; what it writes meanwhile waits for its page
 * @param parallelCapture each vCPU's thread reads its own state; else the epoch thread reads one after the other
 */
public record Techniques(int hotPagesMax, boolean copyOnWrite, boolean parallelCapture) {
  public static final int HOT_PAGES_MAX = 4096;

  public static final Techniques USUAL = new Techniques(0, false, true);

  public Techniques {
    if (hotPagesMax < 0 || hotPagesMax > HOT_PAGES_MAX) {
      throw new IllegalArgumentException(hotPagesMax + " hot pages; possible are 0 to " + HOT_PAGES_MAX);
    }
  }

  public Techniques withHotPagesMax(int pages) {
    return new Techniques(pages, copyOnWrite, parallelCapture);
  }

  public Techniques withCopyOnWrite(boolean on) {
    return new Techniques(hotPagesMax, on, parallelCapture);
  }

  public Techniques withParallelCapture(boolean on) {
    return new Techniques(hotPagesMax, copyOnWrite, on);
  }
}
