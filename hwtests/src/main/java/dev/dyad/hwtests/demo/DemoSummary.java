package dev.dyad.hwtests.demo;

import dev.dyad.engine.json.Json;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What a demo ends with.
 *
 * @param failoverMillis from the kill to the client's first reply after it, the longest of several
 * @param pauseMicros of all epochs before the first kill
 * @param inside what can be said of a guest of our own; null of another
 */
record DemoSummary(
    String guest, long epochs, long acked, long lost, int reset, double failoverMillis, Pauses pauseMicros, @Nullable Inside inside) {
  /** Percentiles of the pause, in microseconds. */
  record Pauses(double p50, double p95, double p99, double max) {
    /** @param node its status */
    static Pauses of(Json node) {
      Json pause = node.get("pauseMicros");
      return new Pauses(Progress.number(pause, "p50"), Progress.number(pause, "p95"), Progress.number(pause, "p99"), Progress.number(pause, "max"));
    }
  }

  /**
   * @param allocatedBytesPerEpoch on the Java heap by the epoch thread, the least of the windows of 100 epochs or more before the first kill; null when there were too few epochs
   * @param checksumRight whether the guest's memory and registers came to the same as without any kill
   */
  record Inside(@Nullable Double allocatedBytesPerEpoch, boolean checksumRight) {}

  boolean isGood() {
    return acked > 0 && lost == 0 && reset == 0 && (inside == null || inside.checksumRight());
  }

  Map<String, Object> toMap() {
    Map<String, Object> pause = new LinkedHashMap<>();
    pause.put("p50", pauseMicros.p50());
    pause.put("p95", pauseMicros.p95());
    pause.put("p99", pauseMicros.p99());
    pause.put("max", pauseMicros.max());
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("guest", guest);
    map.put("epochs", epochs);
    map.put("ackedWrites", acked);
    map.put("lostWrites", lost);
    map.put("resetConnections", reset);
    map.put("failoverMillis", Math.round(failoverMillis * 10) / 10.0);
    map.put("pauseMicros", pause);
    if (inside != null) {
      map.put("allocatedBytesPerEpoch", inside.allocatedBytesPerEpoch());
      map.put("guestChecksumRight", inside.checksumRight());
    }
    return map;
  }

  String toText() {
    return String.format(
        """

        epochs                %,d
        acknowledged writes   %,d
        lost writes           %d
        connections reset     %d
        failover              %.0f ms
        pause                 p50 %.0f µs, p95 %.0f µs, p99 %.0f µs, max %.0f µs
        """,
        epochs, acked, lost, reset, failoverMillis, pauseMicros.p50(), pauseMicros.p95(), pauseMicros.p99(), pauseMicros.max())
        + (inside == null
            ? ""
            : String.format("guest checksum        %s%nallocated per epoch   %s%n", inside.checksumRight() ? "right" : "WRONG", allocated(inside.allocatedBytesPerEpoch())))
        + (isGood() ? "\nThe guest went on. Nothing was lost, nothing was reset." : "\nSOMETHING WAS LOST, RESET OR WRONG: see above.");
  }

  private static String allocated(@Nullable Double bytes) {
    return bytes == null ? "not measured: too few epochs" : String.format("%.1f bytes", bytes);
  }
}
