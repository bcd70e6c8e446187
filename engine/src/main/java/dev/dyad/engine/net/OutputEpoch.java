package dev.dyad.engine.net;

/**
 * The number of the epoch that is open, as the tag of everything that the guest sends. One for all NICs of a guest.
 *
 * <p>Written by the epoch thread while the guest is paused, read by the net thread <em>after</em> it has received; why this
 * order is the right one is argued in {@link HeldOutput}.
 */
public final class OutputEpoch {
  private volatile long open;

  /**
   * @param open the epoch whose output comes first
   */
  public OutputEpoch(long open) {
    this.open = open;
  }

  /** Everything received from now on belongs to a later epoch than {@code epoch}. The guest is paused. */
  public void seal(long epoch) {
    open = epoch + 1;
  }

  public long open() {
    return open;
  }
}
