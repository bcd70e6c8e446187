package dev.dyad.engine.epoch;

/**
 * One side's failure detector: how long the peer has been silent, as far as this host can tell.
 *
 * <p>A host that was itself frozen must not hold its own sleep against the peer, whose words may wait in the socket. A gap of
 * more than half the bound between two events therefore starts the silence anew. That only ever makes a side ask later, which is
 * the safe direction.
 */
final class Watch {
  private final long boundNanos;
  private boolean running;
  private long heardNanos;
  private long turnNanos;

  Watch(long boundNanos) {
    this.boundNanos = boundNanos;
  }

  /** An event of any kind, at the start of its handling. */
  void turn(long nowNanos) {
    if (!running) {
      running = true;
      heardNanos = nowNanos;
      turnNanos = nowNanos;
      return;
    }
    long gapNanos = nowNanos - turnNanos;
    if (gapNanos > boundNanos / 2) {
      heard(nowNanos);
    }
    if (gapNanos > 0) {
      turnNanos = nowNanos;
    }
  }

  /** The peer was heard. */
  void heard(long nowNanos) {
    if (nowNanos - heardNanos > 0) {
      heardNanos = nowNanos;
    }
  }

  long silentNanos(long nowNanos) {
    return nowNanos - heardNanos;
  }
}
