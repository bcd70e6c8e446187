package dev.dyad.perf.qemu;

import dev.dyad.engine.json.Json;
import dev.dyad.perf.plot.LinePlot;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.ToDoubleFunction;

/** The sweep over the period as two plots: {@code pause.svg} and {@code throughput.svg}. */
final class SweepPlots {
  private static final String PERIOD = "period, ms";

  private SweepPlots() {}

  /** Writes nothing when there was no sweep. */
  static void write(Json report, Path directory) throws IOException {
    List<Json> rows = report.get("sweep").elements();
    if (rows.isEmpty()) {
      return;
    }
    double[] x = figures(rows, row -> Quantiles.number(row, "periodMillis"));
    LinePlot pause = new LinePlot("Pause of an attached QEMU under Redis load", PERIOD, "pause, µs");
    for (String who : List.of("ours", "c")) {
      for (String quantile : List.of("p50", "p99")) {
        pause.line(who + " " + quantile, quantile.equals("p99"), x, figures(rows, row -> Quantiles.number(row.get(who).get("pauseMicros"), quantile)));
      }
    }
    Files.writeString(directory.resolve("pause.svg"), pause.svg());
    LinePlot throughput = new LinePlot("Redis SET per second, output held by ours", PERIOD, "SET/s");
    for (String who : List.of("ours", "c", "unprotected")) {
      throughput.line(who, who.equals("unprotected"), x, figures(rows, row -> Quantiles.number(row.get(who), "setsPerSecond")));
    }
    Files.writeString(directory.resolve("throughput.svg"), throughput.svg());
  }

  private static double[] figures(List<Json> rows, ToDoubleFunction<Json> figure) {
    return rows.stream().mapToDouble(figure).toArray();
  }
}
