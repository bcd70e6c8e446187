package dev.dyad.perf.disk;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A flush after each write: two fio jobs at once, which are the mirror's two legs, beside the mirror with each durability. */
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
        List<Double> legs = new ArrayList<>();
        List<Double> answered = new ArrayList<>();
        List<Double> onBoth = new ArrayList<>();
        for (int round = 0; round < rounds; round++) {
          legs.add(Fio.flushMicros(TEST, seconds, files.bytes(), files.one(), files.two()).stream().max(Double::compare).orElseThrow());
          try (MirrorPair pair = files.pair(link, durable)) {
            FlushLoad load = new FlushLoad(pair, files.bytes());
            load.run(seconds);
            answered.add(load.answeredP50());
            onBoth.add(load.onBothP50());
          }
        }
        double leg = Speed.median(legs, value -> value);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("flush", durable ? "disk" : "memory");
        row.put("link", link);
        row.put("slowerLegMicrosP50", Figure.of(leg, 0));
        row.put("answeredMicrosP50", Figure.of(Speed.median(answered, value -> value), 0));
        row.put("onBothMicrosP50", Figure.of(Speed.median(onBoth, value -> value), 0));
        row.put("answeredRatio", Figure.of(Speed.median(answered, value -> value) / leg, 2));
        row.put("onBothRatio", Figure.of(Speed.median(onBoth, value -> value) / leg, 2));
        rows.add(row);
      }
    }
    return rows;
  }
}
