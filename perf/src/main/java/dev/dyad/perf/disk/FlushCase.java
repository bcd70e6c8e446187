package dev.dyad.perf.disk;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A flush after each write: two fio jobs at once, which are the mirror's two legs, before and after the mirror with each durability. */
final class FlushCase {
  private static final DiskCase TEST = new DiskCase(true, true, 4096, 1, 1);

  private final MirrorFiles files;
  private final List<String> links;
  private final double seconds;
  private final int rounds;

  FlushCase(MirrorFiles files, List<String> links, double seconds, int rounds) {
    this.files = files;
    this.links = links;
    this.seconds = seconds;
    this.rounds = rounds;
  }

  List<Map<String, Object>> measure() throws IOException, InterruptedException {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (String link : links) {
      for (boolean durable : new boolean[] {false, true}) {
        List<Round> measured = new ArrayList<>();
        for (int round = 0; round < rounds; round++) {
          measured.add(round(link, durable));
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("flush", durable ? "disk" : "memory");
        row.put("link", link);
        row.put("slowerLegMicrosP50", Figure.of(Speed.median(measured, Round::leg), 0));
        row.put("answeredMicrosP50", Figure.of(Speed.median(measured, Round::answered), 0));
        row.put("onBothMicrosP50", Figure.of(Speed.median(measured, Round::onBoth), 0));
        row.put("answeredRatio", Figure.of(Speed.median(measured, one -> one.answered() / one.leg()), 2));
        row.put("onBothRatio", Figure.of(Speed.median(measured, one -> one.onBoth() / one.leg()), 2));
        rows.add(row);
      }
    }
    return rows;
  }

  /** Medians of one round, in microseconds; the ratio is taken within it, since a disk that others use as well has no speed of its own. */
  private record Round(double leg, double answered, double onBoth) {}

  private Round round(String link, boolean durable) throws IOException, InterruptedException {
    double before = slowerLeg();
    FlushLoad load;
    try (MirrorPair pair = files.pair(link, durable)) {
      load = new FlushLoad(pair, files.bytes());
      load.run(seconds);
    }
    return new Round((before + slowerLeg()) / 2, load.answeredP50(), load.onBothP50());
  }

  private double slowerLeg() throws IOException, InterruptedException {
    return Fio.flushMicros(TEST, seconds, files.bytes(), files.one(), files.two()).stream().max(Double::compare).orElseThrow();
  }
}
