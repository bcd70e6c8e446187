package dev.dyad.engine.epoch;

/**
 * The protocol's bounds. Both sides must use the same {@code detectorNanos}; the handshake compares it.
 *
 * @param periodNanos an epoch ends at the latest this long after the one before, unless the window is full
 * @param window epochs that may be sealed and not yet acknowledged, at least 2
 * @param adaptive whether an epoch also ends as soon as output waits and no commit is under way
 * @param detectorNanos the standby may ask for promotion after hearing nothing for this long; the primary gives up on a silent
 *     standby after the same time; while the baseline is sent see {@link #syncingDetectorNanos}
 * @param leaseMarginNanos the primary stops releasing this long before the standby could ask: at least
 *     2 × {@link #CLOCK_DRIFT_MAX} × {@code detectorNanos} for clocks that run at different rates, and beyond that whatever may
 *     pass between reading the clock and the packet's leaving
 * @param heartbeatNanos a frame with the send time goes out at least this often, and {@code onTick} must be called at least
 *     this often
 * @param commitNanosMax a standby that lets a sealed epoch wait longer than this is given up, however alive it is
 * @param askAgainNanos pause before the arbiter is asked again after it could not be reached
 * @param undecidedRunNanos how long the guest may run on, with all its output held, while it is not decided who goes on; it is
 *     paused afterwards
 */
public record EpochConfig(
    long periodNanos,
    int window,
    boolean adaptive,
    long detectorNanos,
    long leaseMarginNanos,
    long heartbeatNanos,
    long commitNanosMax,
    long askAgainNanos,
    long undecidedRunNanos) {

  /** Bound on the difference between a host's clock rate and true time: 500 ppm of NTP slewing, 100 ppm of crystal, rounded up. */
  public static final double CLOCK_DRIFT_MAX = 0.001;

  /**
   * Whole epochs that may wait at the standby to be applied: a promotion has to work them off first. Beyond that it withholds
   * acknowledgements, so that the primary's window closes.
   */
  public static final int APPLY_BACKLOG_EPOCHS_MAX = 16;

  public EpochConfig {
    require(periodNanos > 0, "periodNanos", periodNanos, "> 0");
    require(window >= 2 && window <= 64, "window", window, "2..64");
    require(detectorNanos > 0 && detectorNanos <= 60_000_000_000L, "detectorNanos", detectorNanos, "> 0, at most a minute");
    require(leaseMarginNanos >= 2 * CLOCK_DRIFT_MAX * detectorNanos, "leaseMarginNanos", leaseMarginNanos, "at least 0.2 % of detectorNanos");
    require(heartbeatNanos > 0 && heartbeatNanos <= (detectorNanos - leaseMarginNanos) / 3, "heartbeatNanos", heartbeatNanos,
        "> 0, at most a third of detectorNanos - leaseMarginNanos");
    require(commitNanosMax >= detectorNanos, "commitNanosMax", commitNanosMax, "at least detectorNanos");
    require(askAgainNanos > 0, "askAgainNanos", askAgainNanos, "> 0");
    require(undecidedRunNanos >= 0, "undecidedRunNanos", undecidedRunNanos, ">= 0");
  }

  /**
   * The usual bounds for a period and a detector: two epochs in flight, adaptive, a margin of a tenth, eight heartbeats per
   * bound.
   */
  public static EpochConfig of(long periodNanos, long detectorNanos) {
    return new EpochConfig(
        periodNanos, 2, true, detectorNanos, detectorNanos / 10, detectorNanos / 8, 20 * detectorNanos, detectorNanos / 2, 10 * detectorNanos);
  }

  /** How long after the send of the newest echoed frame the primary may release. */
  public long leaseNanos() {
    return detectorNanos - leaseMarginNanos;
  }

  /**
   * Silence that ends a link while the baseline is being sent. Nobody could take over yet, so a false alarm gains nothing and costs the whole baseline: a bound below a
   * second is stretched to one, at most tenfold.
   */
  public long syncingDetectorNanos() {
    return Math.max(detectorNanos, Math.min(10 * detectorNanos, 1_000_000_000L));
  }

  private static void require(boolean holds, String name, long value, String needed) {
    if (!holds) {
      throw new IllegalArgumentException(name + " is " + value + ", needed: " + needed);
    }
  }
}
