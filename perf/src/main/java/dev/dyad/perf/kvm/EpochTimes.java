package dev.dyad.perf.kvm;

import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import org.HdrHistogram.Histogram;

/** The times of one side's epochs over all rounds of a case, in nanoseconds; allocates nothing while it records. */
final class EpochTimes {
  /** What is measured of each epoch, in the order of the C program's file of values. */
  enum Part {
    /** From the request to stop to the guest's going on. */
    PAUSE,
    /** From the same moment to the standby's word that it holds the epoch. */
    COMMIT,
    STOP,
    SCAN,
    COPY,
    STATE,
    RESUME
  }

  private static final long NANOS_MAX = 600_000_000_000L;
  private static final double MICRO = 1e3;

  private final Map<Part, Histogram> parts = new EnumMap<>(Part.class);
  private long epochs;
  private double seconds;
  private long writes;

  EpochTimes() {
    for (Part part : Part.values()) {
      parts.put(part, new Histogram(1, NANOS_MAX, 3));
    }
  }

  Histogram of(Part part) {
    Histogram histogram = parts.get(part);
    if (histogram == null) {
      throw new IllegalArgumentException(part.toString());
    }
    return histogram;
  }

  void record(Part part, long nanos) {
    of(part).recordValue(Math.clamp(nanos, 0, NANOS_MAX));
  }

  /** One round of so many epochs took so long. */
  void ran(long count, double forSeconds) {
    epochs += count;
    seconds += forSeconds;
  }

  /** So many writes the guest made in these rounds. */
  void wrote(long count) {
    writes += count;
  }

  long epochs() {
    return epochs;
  }

  double epochsPerSecond() {
    return seconds == 0 ? 0 : epochs / seconds;
  }

  double pauseMicros(double percentile) {
    return of(Part.PAUSE).getValueAtPercentile(percentile) / MICRO;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("epochs", epochs);
    for (Part part : Part.values()) {
      map.put(part.name().toLowerCase(Locale.ROOT) + "Micros", quantiles(of(part)));
    }
    map.put("epochsPerSecond", rounded(epochsPerSecond()));
    if (writes > 0) {
      map.put("guestWritesPerSecond", Math.round(writes / seconds));
    }
    return map;
  }

  private static Map<String, Object> quantiles(Histogram histogram) {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("min", rounded(histogram.getMinValue() / MICRO));
    map.put("p50", rounded(histogram.getValueAtPercentile(50) / MICRO));
    map.put("p90", rounded(histogram.getValueAtPercentile(90) / MICRO));
    map.put("p99", rounded(histogram.getValueAtPercentile(99) / MICRO));
    map.put("p999", rounded(histogram.getValueAtPercentile(99.9) / MICRO));
    map.put("max", rounded(histogram.getMaxValue() / MICRO));
    map.put("mean", rounded(histogram.getMean() / MICRO));
    return map;
  }

  static double rounded(double value) {
    return Math.rint(value * 100) / 100;
  }
}
