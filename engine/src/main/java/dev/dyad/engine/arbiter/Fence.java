package dev.dyad.engine.arbiter;

/**
 * What a side does when it may not go on: it lets nothing more out and stops its guest.
 *
 * <p>Called on the control thread, at most once with effect (later calls change nothing). The order is fixed: held output is
 * discarded first, the guest is stopped second, so that nothing made between the two can leave.
 */
public interface Fence {

  /**
   * @param reason one line for the log and for {@code dyad status}, such as "generation 5 was won by host-b"
   */
  void fence(String reason);

  /** Whether {@link #fence} was called. */
  boolean isFenced();
}
