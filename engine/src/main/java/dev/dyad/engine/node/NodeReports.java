package dev.dyad.engine.node;

import dev.dyad.engine.observe.EpochMetrics;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import org.HdrHistogram.Histogram;

/**
 * What nodes say of themselves: the object behind {@code dyad status}, and its form for people. Control thread only.
 */
public final class NodeReports {
  private NodeReports() {}

  /** p50, p95, p99 and max of a recorded time, in microseconds. */
  public static Map<String, Object> micros(EpochMetrics.Distribution nanos) {
    Histogram total = nanos.total();
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("count", total.getTotalCount());
    report.put("p50", total.getValueAtPercentile(50) / 1e3);
    report.put("p95", total.getValueAtPercentile(95) / 1e3);
    report.put("p99", total.getValueAtPercentile(99) / 1e3);
    report.put("max", total.getMaxValue() / 1e3);
    return report;
  }

  /** p50 of each part of the pause, in microseconds. */
  static Map<String, Object> parts(EpochMetrics metrics) {
    Map<String, Object> report = new LinkedHashMap<>();
    for (EpochMetrics.PausePart part : EpochMetrics.PausePart.values()) {
      report.put(part.name().toLowerCase(Locale.ROOT), metrics.pausePartNanos(part).total().getValueAtPercentile(50) / 1e3);
    }
    return report;
  }

  /** p50, p99 and max of a recorded count. */
  public static Map<String, Object> counts(EpochMetrics.Distribution values) {
    Histogram total = values.total();
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("p50", total.getValueAtPercentile(50));
    report.put("p99", total.getValueAtPercentile(99));
    report.put("max", total.getMaxValue());
    return report;
  }

  /** A report as people read it: a line of what matters, then the rest. */
  public static String text(Map<String, Object> report) {
    StringBuilder out = new StringBuilder();
    boolean isProtected = Boolean.TRUE.equals(report.get("protected"));
    String why = String.valueOf(report.getOrDefault("why", ""));
    out.append(report.get("role")).append(" of ").append(report.get("name")).append(" (pid ").append(report.get("pid")).append("): ");
    out.append(isProtected ? "protected" : "NOT protected").append(why.isEmpty() ? "" : ", " + why).append('\n');
    for (Map.Entry<String, Object> entry : report.entrySet()) {
      switch (entry.getKey()) {
        case "role", "name", "pid", "protected", "why" -> {}
        default -> out.append(String.format("  %-20s %s%n", entry.getKey(), value(entry.getValue())));
      }
    }
    return out.toString();
  }

  private static String value(Object value) {
    if (value instanceof Map<?, ?> map) {
      StringBuilder out = new StringBuilder();
      map.forEach((key, number) -> out.append(out.isEmpty() ? "" : ", ").append(key).append(' ').append(value(number)));
      return out.toString();
    }
    return value instanceof Double number ? String.format("%.1f", number) : String.valueOf(value);
  }
}
