package dev.dyad.engine.node;

import dev.dyad.engine.observe.EpochMetrics;
import java.util.LinkedHashMap;
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

  /** p50, p99 and max of a recorded count. */
  public static Map<String, Object> counts(EpochMetrics.Distribution values) {
    Histogram total = values.total();
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("p50", total.getValueAtPercentile(50));
    report.put("p99", total.getValueAtPercentile(99));
    report.put("max", total.getMaxValue());
    return report;
  }
}
