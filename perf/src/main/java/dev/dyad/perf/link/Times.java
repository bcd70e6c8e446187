package dev.dyad.perf.link;

import java.util.Arrays;
import java.util.Comparator;

/** How long something took over and over, in µs. */
record Times(double median, double average, double p99, double max) {

  /** @param samples is sorted */
  static Times of(double[] samples) {
    Arrays.sort(samples);
    return new Times(samples[samples.length / 2], Arrays.stream(samples).average().orElseThrow(), samples[Math.min(samples.length - 1, samples.length * 99 / 100)], samples[samples.length - 1]);
  }

  /** One after the other. Of the rare ones this is what they take at most, if both come at once. */
  Times plus(Times other) {
    return new Times(median + other.median, average + other.average, p99 + other.p99, max + other.max);
  }

  /** The run whose median is the middle one. */
  static Times middle(Times[] runs) {
    Times[] sorted = runs.clone();
    Arrays.sort(sorted, Comparator.comparingDouble(Times::median));
    return sorted[sorted.length / 2];
  }

  static double middle(double[] runs) {
    double[] sorted = runs.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }
}
