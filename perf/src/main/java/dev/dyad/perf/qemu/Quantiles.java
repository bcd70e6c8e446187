package dev.dyad.perf.qemu;

import dev.dyad.engine.json.Json;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import org.HdrHistogram.Histogram;

/** A distribution in four figures. */
record Quantiles(double p50, double p95, double p99, double max) {
  /** @param unit what the histogram's values are divided by */
  static Quantiles of(Histogram histogram, double unit) {
    return new Quantiles(
        histogram.getValueAtPercentile(50) / unit,
        histogram.getValueAtPercentile(95) / unit,
        histogram.getValueAtPercentile(99) / unit,
        histogram.getMaxValue() / unit);
  }

  static Quantiles of(Json json) {
    return new Quantiles(number(json, "p50"), number(json, "p95"), number(json, "p99"), number(json, "max"));
  }

  /** Of several runs: the median of each figure, and the largest maximum. Drift of one run does not shift it. */
  static Quantiles typical(List<Quantiles> runs) {
    return new Quantiles(
        median(runs, Quantiles::p50), median(runs, Quantiles::p95), median(runs, Quantiles::p99), runs.stream().mapToDouble(Quantiles::max).max().orElse(0));
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("p50", rounded(p50));
    map.put("p95", rounded(p95));
    map.put("p99", rounded(p99));
    map.put("max", rounded(max));
    return map;
  }

  static <T> double median(List<T> values, ToDoubleFunction<T> figure) {
    return median(values.stream().mapToDouble(figure).toArray());
  }

  static double median(double... values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    int half = sorted.length / 2;
    return sorted.length == 0 ? 0 : sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  static double rounded(double value) {
    return Math.rint(value * 1000) / 1000;
  }

  static double number(Json json, String name) {
    Json value = json.get(name);
    return value.isAbsent() ? 0 : Double.parseDouble(value.toString());
  }
}
