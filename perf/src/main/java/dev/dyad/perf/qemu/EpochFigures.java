package dev.dyad.perf.qemu;

import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.observe.EpochMetrics.PausePart;
import dev.dyad.engine.json.Json;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.HdrHistogram.Histogram;

/**
 * What one way of cutting epochs did in one window: times in microseconds.
 *
 * @param pauseMicros the guest stood still, by QEMU's own clock
 * @param cutMicros request to answer; its parts are {@code parts}
 * @param shipMicros seal to the last byte in the link's hands: encoding and sending
 * @param commitMicros seal to acknowledgement; zero where nothing is shipped
 */
record EpochFigures(long epochs, Quantiles pauseMicros, Quantiles cutMicros, Quantiles dirtyPages, Map<PausePart, Quantiles> parts, Quantiles shipMicros,
    Quantiles commitMicros) {
  private static final double MICRO = 1e3;

  /** Everything that was recorded. */
  static EpochFigures of(EpochMetrics metrics) {
    Map<PausePart, Quantiles> parts = new EnumMap<>(PausePart.class);
    for (PausePart part : PausePart.values()) {
      parts.put(part, Quantiles.of(metrics.pausePartNanos(part).total(), MICRO));
    }
    return new EpochFigures(metrics.epochsSealed(), Quantiles.of(metrics.pauseNanos().total(), MICRO), Quantiles.of(metrics.cutNanos().total(), MICRO),
        Quantiles.of(metrics.dirtyPages().total(), 1), parts,
        Quantiles.of(metrics.shipNanos().total(), MICRO), Quantiles.of(metrics.commitNanos().total(), MICRO));
  }

  /** Distributions since a mark. */
  static final class Window {
    private final EpochMetrics metrics;
    private final Histogram pause;
    private final Histogram cut;
    private final Histogram pages;
    private final Histogram ship;
    private final Histogram commit;
    private final Map<PausePart, Histogram> parts = new EnumMap<>(PausePart.class);

    Window(EpochMetrics metrics) {
      this.metrics = metrics;
      pause = metrics.pauseNanos().total();
      cut = metrics.cutNanos().total();
      pages = metrics.dirtyPages().total();
      ship = metrics.shipNanos().total();
      commit = metrics.commitNanos().total();
      for (PausePart part : PausePart.values()) {
        parts.put(part, metrics.pausePartNanos(part).total());
      }
    }

    EpochFigures figures() {
      Histogram pauses = since(metrics.pauseNanos(), pause);
      Map<PausePart, Quantiles> split = new EnumMap<>(PausePart.class);
      parts.forEach((part, before) -> split.put(part, Quantiles.of(since(metrics.pausePartNanos(part), before), MICRO)));
      return new EpochFigures(pauses.getTotalCount(), Quantiles.of(pauses, MICRO), Quantiles.of(since(metrics.cutNanos(), cut), MICRO),
          Quantiles.of(since(metrics.dirtyPages(), pages), 1), split,
          Quantiles.of(since(metrics.shipNanos(), ship), MICRO), Quantiles.of(since(metrics.commitNanos(), commit), MICRO));
    }

    private static Histogram since(EpochMetrics.Distribution distribution, Histogram before) {
      Histogram now = distribution.total();
      now.subtract(before);
      return now;
    }
  }

  static EpochFigures of(Json json) {
    Map<PausePart, Quantiles> parts = new EnumMap<>(PausePart.class);
    for (PausePart part : PausePart.values()) {
      parts.put(part, Quantiles.of(json.get(nameOf(part))));
    }
    return new EpochFigures(json.get("epochs").number(0), Quantiles.of(json.get("pauseMicros")), Quantiles.of(json.get("cutMicros")), Quantiles.of(json.get("dirtyPages")), parts,
        Quantiles.of(json.get("shipMicros")), Quantiles.of(json.get("commitMicros")));
  }

  static EpochFigures typical(List<EpochFigures> runs) {
    Map<PausePart, Quantiles> parts = new EnumMap<>(PausePart.class);
    for (PausePart part : PausePart.values()) {
      parts.put(part, Quantiles.typical(runs.stream().map(run -> run.parts.getOrDefault(part, new Quantiles(0, 0, 0, 0))).toList()));
    }
    return new EpochFigures(
        runs.stream().mapToLong(EpochFigures::epochs).sum(),
        Quantiles.typical(runs.stream().map(EpochFigures::pauseMicros).toList()),
        Quantiles.typical(runs.stream().map(EpochFigures::cutMicros).toList()),
        Quantiles.typical(runs.stream().map(EpochFigures::dirtyPages).toList()),
        parts,
        Quantiles.typical(runs.stream().map(EpochFigures::shipMicros).toList()),
        Quantiles.typical(runs.stream().map(EpochFigures::commitMicros).toList()));
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("epochs", epochs);
    map.put("pauseMicros", pauseMicros.toMap());
    map.put("cutMicros", cutMicros.toMap());
    map.put("dirtyPages", dirtyPages.toMap());
    parts.forEach((part, quantiles) -> map.put(nameOf(part), quantiles.toMap()));
    if (commitMicros.max() > 0) {
      map.put("shipMicros", shipMicros.toMap());
      map.put("commitMicros", commitMicros.toMap());
    }
    return map;
  }

  /** The same member that the C program prints. */
  private static String nameOf(PausePart part) {
    return part.name().toLowerCase(Locale.ROOT) + "Micros";
  }
}
