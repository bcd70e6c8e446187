package dev.dyad.perf.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.UringDisk;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One case: fio, this engine, two fio jobs at once and the mirror over each link, all in turn, round after round. */
final class SpeedCase {
  private final DiskCase test;
  private final MirrorFiles files;
  private final List<String> links;
  private final double seconds;
  private final int rounds;
  private final List<Speed> fio = new ArrayList<>();
  private final List<Speed> local = new ArrayList<>();
  private final List<Speed> fioPair = new ArrayList<>();
  private final Map<String, List<Speed>> mirrored = new LinkedHashMap<>();

  /** Of the best window of the local disk ("") and of each link: a compiler that is still at work allocates for the thread. */
  private final Map<String, Double> allocatedBytesPerIo = new LinkedHashMap<>();

  /** Keys as above: what a machine with few cores adds to the latencies. */
  private final Map<String, List<Double>> withoutCore = new LinkedHashMap<>();

  SpeedCase(DiskCase test, MirrorFiles files, List<String> links, double seconds, int rounds) {
    this.test = test;
    this.files = files;
    this.links = links;
    this.seconds = seconds;
    this.rounds = rounds;
  }

  /** A row for each link. */
  List<Map<String, Object>> measure() throws IOException, InterruptedException {
    for (int round = 0; round < rounds; round++) {
      fio.addAll(Fio.run(test, seconds, files.bytes(), files.one()));
      try (UringDisk disk = UringDisk.open(files.one().toString(), 128);
          DiskLoad load = load(disk, Long.MAX_VALUE)) {
        local.add(load.run(seconds, now -> {}));
        withoutCore("").add(load.withoutCore());
        allocatedBytesPerIo.merge("", load.allocatedBytesPerIo(), Math::min);
      }
      fioPair.add(Speed.slower(Fio.run(test, seconds, files.bytes(), files.one(), files.two())));
      for (String link : links) {
        try (MirrorPair pair = files.pair(link, false);
            DiskLoad load = load(pair.disk(), MirrorPair.WAIT_NANOS)) {
          mirrored(link).add(load.run(seconds, pair::turn));
          withoutCore(link).add(load.withoutCore());
          allocatedBytesPerIo.merge(link, load.allocatedBytesPerIo(), Math::min);
        }
      }
    }
    return links.stream().map(this::row).toList();
  }

  /** Our side of it, for nothing: what the compilers do at first, they do on the cores that the disk's threads and the kernel need. */
  void warmUp() throws IOException {
    try (UringDisk disk = UringDisk.open(files.one().toString(), 128);
        DiskLoad load = load(disk, Long.MAX_VALUE)) {
      load.run(seconds, now -> {});
    }
    for (String link : links) {
      try (MirrorPair pair = files.pair(link, false);
          DiskLoad load = load(pair.disk(), MirrorPair.WAIT_NANOS)) {
        load.run(seconds, pair::turn);
      }
    }
  }

  private List<Speed> mirrored(String link) {
    return mirrored.computeIfAbsent(link, name -> new ArrayList<>());
  }

  private List<Double> withoutCore(String link) {
    return withoutCore.computeIfAbsent(link, name -> new ArrayList<>());
  }

  private DiskLoad load(BlockDevice device, long waitNanosMax) {
    return new DiskLoad(device, test, files.bytes(), Mapping.anonymous((long) test.queueDepth() * test.blockBytes()), waitNanosMax);
  }

  private Map<String, Object> row(String link) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("pattern", test.pattern());
    row.put("blockSize", test.blockBytes());
    row.put("queueDepth", test.queueDepth());
    row.put("link", link);
    Speed alone = put(row, "fio", fio);
    Speed ours = put(row, "local", local);
    Speed both = put(row, "fioPair", fioPair);
    Speed mirror = put(row, "mirrored", mirrored(link));
    putRatios(row, "local", ours, alone);
    putRatios(row, "mirrored", mirror, both);
    row.put("localWithoutCore", Figure.of(Speed.median(withoutCore(""), value -> value), 2));
    row.put("mirroredWithoutCore", Figure.of(Speed.median(withoutCore(link), value -> value), 2));
    double allocated = Math.max(allocatedBytesPerIo.getOrDefault("", 0.0), allocatedBytesPerIo.getOrDefault(link, 0.0));
    row.put("allocatedBytesPerIo", Figure.of(allocated, 3));
    return row;
  }

  private static Speed put(Map<String, Object> row, String name, List<Speed> rounds) {
    Speed speed = Speed.median(rounds);
    row.put(name + "Iops", Figure.of(speed.iops(), 0));
    row.put(name + "Micros", List.of(Figure.of(speed.p50Micros(), 0), Figure.of(speed.p99Micros(), 0), Figure.of(speed.maxMicros(), 0)));
    return speed;
  }

  private static void putRatios(Map<String, Object> row, String name, Speed ours, Speed theirs) {
    row.put(name + "Ratio", Figure.of(ours.iops() / theirs.iops(), 3));
    row.put(
        name + "LatencyRatios",
        List.of(
            Figure.of(ours.p50Micros() / theirs.p50Micros(), 2),
            Figure.of(ours.p99Micros() / theirs.p99Micros(), 2),
            Figure.of(ours.maxMicros() / theirs.maxMicros(), 2)));
  }
}
