package dev.dyad.perf.kvm;

import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.Techniques;

/** Ours with one technique changed, so that each one's effect is measured beside the usual in one run. Lower case, as it is typed. */
enum Variant {
  usual(Tracker.BEST, Techniques.USUAL),
  /** The bitmap instead of the ring. */
  log(Tracker.LOG, Techniques.USUAL),
  hot(Tracker.BEST, Techniques.USUAL.withHotPagesMax(Techniques.HOT_PAGES_MAX)),
  cow(Tracker.BEST, Techniques.USUAL.withCopyOnWrite(true)),
  /** vCPUs captured one after the other. */
  serial(Tracker.BEST, Techniques.USUAL.withParallelCapture(false));

  private final Tracker tracker;
  private final Techniques techniques;

  Variant(Tracker tracker, Techniques techniques) {
    this.tracker = tracker;
    this.techniques = techniques;
  }

  Tracker tracker() {
    return tracker;
  }

  Techniques techniques() {
    return techniques;
  }
}
