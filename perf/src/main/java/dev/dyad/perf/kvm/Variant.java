package dev.dyad.perf.kvm;

import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.Techniques;

/** Ours with one technique changed, so that each one's effect is measured beside the usual in one run. Lower case, as it is typed. */
enum Variant {
  usual(Tracker.BEST, Techniques.USUAL, 0),
  /** The bitmap instead of the ring. */
  log(Tracker.LOG, Techniques.USUAL, 0),
  hot(Tracker.BEST, Techniques.USUAL.withHotPagesMax(Techniques.HOT_PAGES_MAX), 0),
  cow(Tracker.BEST, Techniques.USUAL.withCopyOnWrite(true), 0),
  /** Pages shipped while the epoch still runs. */
  early(Tracker.BEST, Techniques.USUAL, 500_000),
  /** vCPUs captured one after the other. */
  serial(Tracker.BEST, Techniques.USUAL.withParallelCapture(false), 0);

  private final Tracker tracker;
  private final Techniques techniques;
  private final long earlyNanos;

  Variant(Tracker tracker, Techniques techniques, long earlyNanos) {
    this.tracker = tracker;
    this.techniques = techniques;
    this.earlyNanos = earlyNanos;
  }

  Tracker tracker() {
    return tracker;
  }

  Techniques techniques() {
    return techniques;
  }

  long earlyNanos() {
    return earlyNanos;
  }
}
