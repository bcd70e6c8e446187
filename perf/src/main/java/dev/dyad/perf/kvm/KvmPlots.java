package dev.dyad.perf.kvm;

import dev.dyad.engine.json.Json;
import dev.dyad.perf.plot.LinePlot;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Pause over pages and over the guest's size, ours and the C program's: {@code pause-over-pages.svg}, {@code pause-over-memory.svg}. */
final class KvmPlots {
  private static final List<String> SIDES = List.of("ours", "c");
  private static final List<String> QUANTILES = List.of("p50", "p99");

  private KvmPlots() {}

  /** @return the files written: none for an axis on which nothing was varied */
  static List<Path> write(Json report, Path directory) {
    try {
      Files.createDirectories(directory);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    List<Path> written = new ArrayList<>();
    plot(report, "pages", List.of("memoryMiB", "vcpus"), "Pause over pages written", "pages of an epoch", directory.resolve("pause-over-pages.svg"), written);
    plot(report, "memoryMiB", List.of("pages", "vcpus"), "Pause over the guest's size", "guest memory, MiB", directory.resolve("pause-over-memory.svg"), written);
    return written;
  }

  private static void plot(Json report, String over, List<String> fixed, String title, String xLabel, Path file, List<Path> written) {
    List<Json> cases = longest(report, over, fixed);
    if (cases.size() < 2) {
      return;
    }
    Json first = cases.getFirst();
    String given = first.get(fixed.getFirst()) + (fixed.getFirst().equals("pages") ? " pages, " : " MiB, ") + first.get("vcpus") + " vCPU";
    LinePlot plot = new LinePlot(title + " (" + given + ")", xLabel, "pause, µs");
    if (over.equals("pages")) {
      plot.logarithmic();
    }
    double[] x = cases.stream().mapToDouble(one -> one.get(over).number(0)).toArray();
    for (String side : SIDES) {
      for (String quantile : QUANTILES) {
        double[] y = cases.stream().mapToDouble(one -> Double.parseDouble(one.get(side).get("pauseMicros").get(quantile).toString())).toArray();
        plot.line((side.equals("c") ? "C " : "ours ") + quantile, quantile.equals("p99"), x, y);
      }
    }
    try {
      Files.writeString(file, plot.svg());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    written.add(file);
  }

  /** Of the groups of cases that differ in {@code over} only, the one with the most; ascending. */
  private static List<Json> longest(Json report, String over, List<String> fixed) {
    Map<String, List<Json>> groups = new TreeMap<>();
    for (Json one : report.get("cases").elements()) {
      groups.computeIfAbsent(fixed.stream().map(key -> one.get(key).toString()).toList().toString(), key -> new ArrayList<>()).add(one);
    }
    List<Json> best = groups.values().stream().max(Comparator.comparingInt(List::size)).orElse(List.of());
    return best.stream().sorted(Comparator.comparingLong(one -> one.get(over).number(0))).toList();
  }
}
