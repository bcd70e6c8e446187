package dev.dyad.engine.arbiter;

/**
 * Decides when the silence of a peer has lasted too long. Pure: time comes in as an argument (any monotonic nanosecond clock).
 *
 * <p>Two threads: the one that receives calls {@link #heard}, the one that watches calls {@link #expired} at least once every
 * {@code checkNanosMax}. Expiry is reported between {@code bound} and {@code bound + checkNanosMax} after the last sign of life.
 *
 * <p>Time in which this process itself did not run (a stopped process, a suspended host, a long safepoint) is not the peer's
 * silence: what lies between two checks beyond {@code checkNanosMax} is forgiven, since whatever the peer sent meanwhile still
 * waits in our socket. That can only delay a promotion, never cause one.
 */
public final class FailureDetector {
  private final long boundNanos;
  private final long checkNanosMax;

  /** Written by the receiving thread, read by the watching one. */
  private volatile long heardAtNanos;

  // The watching thread's own.
  private long heardSeenNanos;
  private long checkedAtNanos;
  private long forgivenNanos;
  private long stalls;

  /**
   * @param boundNanos silence after which the peer counts as lost
   * @param checkNanosMax longest time between two checks of a process that runs normally, less than the bound
   * @param nowNanos the silence starts here
   */
  public FailureDetector(long boundNanos, long checkNanosMax, long nowNanos) {
    if (checkNanosMax <= 0 || boundNanos <= checkNanosMax) {
      throw new IllegalArgumentException("bound " + boundNanos + " ns must exceed the check interval " + checkNanosMax + " ns");
    }
    this.boundNanos = boundNanos;
    this.checkNanosMax = checkNanosMax;
    this.heardAtNanos = nowNanos;
    this.heardSeenNanos = nowNanos;
    this.checkedAtNanos = nowNanos;
  }

  /** A sign of life arrived. */
  public void heard(long nowNanos) {
    heardAtNanos = nowNanos;
  }

  /** True when the peer was silent for the bound, in time that this process saw pass. */
  public boolean expired(long nowNanos) {
    long heard = heardAtNanos;
    if (heard != heardSeenNanos) {
      heardSeenNanos = heard;
      forgivenNanos = 0;
    }
    long since = heard - checkedAtNanos > 0 ? heard : checkedAtNanos;
    long unseen = nowNanos - since - checkNanosMax;
    checkedAtNanos = nowNanos;
    if (unseen > 0) {
      forgivenNanos += unseen;
      stalls++;
    }
    return nowNanos - heard - forgivenNanos >= boundNanos;
  }

  /** Silence so far as {@link #expired} counted it at its last call. */
  public long silenceNanos() {
    return Math.max(0, checkedAtNanos - heardSeenNanos - forgivenNanos);
  }

  /** How often this process did not run for longer than {@code checkNanosMax}. */
  public long stalls() {
    return stalls;
  }

  public long boundNanos() {
    return boundNanos;
  }
}
