package dev.dyad.engine.node;

import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.Techniques;

/**
 * How one host makes the epochs of a microVM. What is found is the same with any of it, and the other host may choose otherwise.
 *
 * @param tracking how dirty pages are found
 * @param hotPagesMax see {@link Techniques}
 * @param copyOnWrite see {@link Techniques}
 * @param parallelCapture see {@link Techniques}
 * @param earlyNanos see {@link PrimaryConfig}
 */
public record MicroVmTuning(Tracking tracking, int hotPagesMax, boolean copyOnWrite, boolean parallelCapture, long earlyNanos) {
  /** Kinds of dirty tracking. */
  public enum Tracking {
    /** The ring where the kernel has it, else the log. */
    BEST,
    RING,
    /** KVM's bitmap. */
    LOG
  }

  public static final int HOT_PAGES_MAX = Techniques.HOT_PAGES_MAX;

  public static final MicroVmTuning USUAL =
      new MicroVmTuning(Tracking.BEST, Techniques.USUAL.hotPagesMax(), Techniques.USUAL.copyOnWrite(), Techniques.USUAL.parallelCapture(), 0);

  Tracker tracker() {
    return switch (tracking) {
      case BEST -> Tracker.BEST;
      case RING -> Tracker.RING;
      case LOG -> Tracker.LOG;
    };
  }

  Techniques techniques() {
    return new Techniques(hotPagesMax, copyOnWrite, parallelCapture);
  }
}
