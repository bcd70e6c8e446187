package dev.dyad.engine.disk;

import java.util.Arrays;

/** How often each thing happened in a simulation, so that a run in which one did not happen is no proof of it. */
final class DiskEvents {
  /** What can happen. */
  enum Kind {
    EPOCH,
    PROMOTION,
    LEVEL,
    COMPARED_AT_REST,
    POWER_LOSS,
    WRITE_LOST,
    WRITE_TORN,
    /** A newer write survived a loss of power, an older one did not. */
    WRITE_REORDERED,
    COMPLETED_OUT_OF_ORDER,
    EIO,
    ENOSPC,
    SLOW_DISK,
    IMAGE_FAILED,
    STANDBY_FAILED,
    READ_OVER_WRITE,
    WRITE_OVER_WRITE,
    PRIMARY_DIED_LEVELLING,
    STANDBY_DIED_LEVELLING,
    /** Levelling towards the host that was the first standby, and back. */
    LEVELLED_THERE,
    LEVELLED_BACK,
    LOG_REPLAYED,
    DIED_REPLAYING,
    DIVERGED_AND_REFUSED
  }

  private final long[] counts = new long[Kind.values().length];

  void add(Kind kind) {
    counts[kind.ordinal()]++;
  }

  void addAll(DiskEvents other) {
    Arrays.setAll(counts, i -> counts[i] + other.counts[i]);
  }

  long count(Kind kind) {
    return counts[kind.ordinal()];
  }

  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    for (Kind kind : Kind.values()) {
      text.append(text.isEmpty() ? "" : ", ").append(kind.name().toLowerCase(java.util.Locale.ROOT).replace('_', ' ')).append(' ').append(count(kind));
    }
    return text.toString();
  }
}
