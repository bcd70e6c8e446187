package dev.dyad.engine.node;

/** How a loop waits: it spins, or it sleeps until it is woken, or it spins for a while first. Its thread's own; allocates nothing. */
final class Idle {
  private final boolean alwaysSpins;
  private final long spinNanos;
  private boolean idle;
  private long sinceNanos;

  /**
   * @param alwaysSpins never sleep
   * @param spinNanos how long to spin after the last work before sleeping
   */
  Idle(boolean alwaysSpins, long spinNanos) {
    this.alwaysSpins = alwaysSpins;
    this.spinNanos = spinNanos;
  }

  /** The loop had something to do. */
  void worked() {
    idle = false;
  }

  /** The loop has nothing to do: whether it is to look again at once. */
  boolean spins(long nowNanos) {
    if (!idle) {
      idle = true;
      sinceNanos = nowNanos;
    }
    if (!alwaysSpins && nowNanos - sinceNanos >= spinNanos) {
      return false;
    }
    Thread.onSpinWait();
    return true;
  }
}
