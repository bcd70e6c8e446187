package dev.dyad.perf.disk;

import java.util.Comparator;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * What one run of a case reached.
 *
 * @param p50Micros from the request to its completion; so the other two
 */
record Speed(double iops, double p50Micros, double p99Micros, double maxMicros) {
  static Speed slower(List<Speed> both) {
    return both.stream().min(Comparator.comparingDouble(Speed::iops)).orElseThrow();
  }

  /** Each figure's median; of the maxima, too. */
  static Speed median(List<Speed> rounds) {
    return new Speed(
        median(rounds, Speed::iops), median(rounds, Speed::p50Micros), median(rounds, Speed::p99Micros), median(rounds, Speed::maxMicros));
  }

  static <T> double median(List<T> values, ToDoubleFunction<T> figure) {
    double[] sorted = values.stream().mapToDouble(figure).sorted().toArray();
    int half = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
}
