package dev.dyad.perf.qemu;

import dev.dyad.engine.observe.EpochMetrics.PausePart;
import dev.dyad.engine.json.Json;
import java.util.List;
import java.util.Locale;

/** The report as people read it. */
final class ReportText {
  private final StringBuilder out = new StringBuilder();

  private ReportText() {}

  static String of(Json report) {
    ReportText text = new ReportText();
    if (!report.get("ours").isAbsent()) {
      text.compare(report);
    }
    if (!report.get("throughput").isAbsent()) {
      text.throughput(report.get("throughput"));
    }
    if (!report.get("latency").isAbsent()) {
      text.latency(report.get("latency"));
    }
    if (!report.get("sweep").isAbsent()) {
      text.sweep(report.get("sweep").elements());
    }
    if (!report.get("failover").isAbsent()) {
      Json part = report.get("failover");
      text.line("failover, kill to first answer: %s ms (goal %s); on the connection that was cut in the midst of a request: %s ms", part.get("killToAnswerMillis"), part.get("goalMillis"),
          part.get("killToReplyMillis"));
    }
    text.line("goals: %s", report.get("goals"));
    return text.out.toString().stripTrailing();
  }

  private void compare(Json report) {
    line("epochs of %s ms, %s clients, %s MiB; times in µs", report.get("periodMillis"), report.get("clients"), report.get("memoryMib"));
    line("%-14s %9s %9s %9s %9s | %7s %7s %7s %7s %7s %7s | %7s %7s | %8s", "", "pause p50", "p95", "p99", "max", "cut p50", "stop", "scan", "copy", "state", "resume", "pages", "p99", "SET/s");
    for (String who : List.of("ours", "bare", "c")) {
      Json run = report.get(who);
      Json pause = run.get("pauseMicros");
      StringBuilder parts = new StringBuilder(String.format(Locale.ROOT, "%7.0f ", number(run.get("cutMicros"), "p50")));
      for (PausePart part : PausePart.values()) {
        parts.append(String.format(Locale.ROOT, "%7.0f ", number(run.get(part.name().toLowerCase(Locale.ROOT) + "Micros"), "p50")));
      }
      line("%-14s %9.0f %9.0f %9.0f %9.0f | %s| %7.0f %7.0f | %8.0f", who, number(pause, "p50"), number(pause, "p95"), number(pause, "p99"), number(pause, "max"),
          parts, number(run.get("dirtyPages"), "p50"), number(run.get("dirtyPages"), "p99"), number(run, "setsPerSecond"));
    }
    line("%-14s %118.0f", "unprotected", number(report.get("unprotected"), "setsPerSecond"));
    line("cores in use, unprotected: %s", report.get("unprotected").get("cores"));
    line("cores in use, ours: %s", report.get("ours").get("cores"));
    line("ratios: %s", report.get("ratios"));
  }

  private void throughput(Json part) {
    line("%s clients at %s ms: unprotected %.0f SET/s, protected %.0f (ratio %s), adaptive %.0f (ratio %s); C, which ships and holds nothing, ratio %s", part.get("clients"), part.get("periodMillis"),
        number(part.get("unprotected"), "setsPerSecond"), number(part.get("fixed"), "setsPerSecond"), part.get("ratio"),
        number(part.get("adaptive"), "setsPerSecond"), part.get("adaptiveRatio"), part.get("cRatio"));
  }

  private void latency(Json part) {
    line("one client, adaptive: reply p50 %.0f µs, unprotected %.0f, pause %.0f, link round trip %.0f, commit %.0f (goal %.0f)",
        number(part.get("protectedMicros"), "p50"), number(part.get("unprotectedMicros"), "p50"), number(part.get("pauseMicros"), "p50"),
        number(part, "linkRoundTripMicros"), number(part.get("commitMicros"), "p50"), number(part, "goalMicros"));
  }

  private void sweep(List<Json> rows) {
    line("%-10s | %10s %10s %10s | %10s %10s %10s | %12s", "period ms", "ours p50", "p99", "SET/s", "C p50", "p99", "SET/s", "unprotected");
    for (Json row : rows) {
      line("%-10s | %10.0f %10.0f %10.0f | %10.0f %10.0f %10.0f | %12.0f", row.get("periodMillis"),
          number(row.get("ours").get("pauseMicros"), "p50"), number(row.get("ours").get("pauseMicros"), "p99"), number(row.get("ours"), "setsPerSecond"),
          number(row.get("c").get("pauseMicros"), "p50"), number(row.get("c").get("pauseMicros"), "p99"), number(row.get("c"), "setsPerSecond"),
          number(row.get("unprotected"), "setsPerSecond"));
    }
  }

  private void line(String format, Object... values) {
    out.append(String.format(Locale.ROOT, format, values)).append('\n');
  }

  private static double number(Json json, String name) {
    return Quantiles.number(json, name);
  }
}
