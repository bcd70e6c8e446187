package dev.dyad.perf.disk;

import com.sun.management.OperatingSystemMXBean;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskFiles;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.function.ToDoubleFunction;

/** A standby goes, the primary's disk is written to, the standby comes back: how fast it is level, and what was moved for it. */
final class ResyncCase {
  private static final DiskCase READ = new DiskCase(false, false, 256 << 10, 8, 0);
  private static final DiskCase WRITE = new DiskCase(false, true, 256 << 10, 8, 0);
  private static final int BLOCK = 4096;

  private final Places places;
  private final List<String> links;
  private final double seconds;
  private final int rounds;

  ResyncCase(Places places, List<String> links, double seconds, int rounds) {
    this.places = places;
    this.links = links;
    this.seconds = seconds;
    this.rounds = rounds;
  }

  /**
   * All of the disk has changed: beside the slowest of what fio reads from the primary's image when that has just been written, what it writes to the standby's and what the link carries, each by
   * itself. Given too: what fio reads from one image while it writes the other, how long it takes when nothing has changed, and how much of the
   * machine's processors it took; all of that is done by one machine here.
   */
  List<Map<String, Object>> whole(int megabytes) throws IOException, InterruptedException {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (String link : links) {
      try (MirrorFiles files = new MirrorFiles(places, megabytes)) {
        List<Levelling> all = new ArrayList<>();
        for (int round = 0; round < rounds; round++) {
          all.add(levelling(link, files));
        }
        rows.add(row(link, all));
      }
    }
    return rows;
  }

  /**
   * One round, in bytes a second.
   *
   * @param emptyNanos to come back and find both level
   * @param processors busy meanwhile
   */
  private record Levelling(double read, double write, double[] atOnce, double carried, double emptyNanos, double rate, double processors) {
    double slowest() {
      return Math.min(Math.min(read, write), carried);
    }
  }

  private Levelling levelling(String link, MirrorFiles files) throws IOException, InterruptedException {
    double write = Fio.run(WRITE, seconds, files.bytes(), files.two()).getFirst().iops() * WRITE.blockBytes();
    double[] atOnce = atOnce(files);
    double carried = LinkRate.bytesPerSecond(link, seconds);
    try (MirrorPair pair = files.pair(link, false)) {
      pair.disconnect();
      double empty = pair.connect();
      pair.disconnect();
      change(pair, files);
      double read = Fio.run(READ, Fio.ONCE, files.bytes(), files.one()).getFirst().iops() * READ.blockBytes();
      change(pair, files); // levelling, too, finds it written and not read since: with a cache outside of this machine it may be twice as fast the next time
      OperatingSystemMXBean process = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
      long busy = process.getProcessCpuTime();
      long nanos = pair.connect();
      double processors = (process.getProcessCpuTime() - busy) / (double) nanos;
      return new Levelling(read, write, atOnce, carried, empty, files.bytes() * 1e9 / nanos, processors);
    }
  }

  private static void change(MirrorPair pair, MirrorFiles files) {
    int pieceBytes = pair.disk().transferBytesMax();
    fill(pair, files.bytes() / pieceBytes, pieceBytes, index -> index * pieceBytes);
  }

  private static Map<String, Object> row(String link, List<Levelling> all) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("resync", "whole");
    row.put("link", link);
    row.put("readMBps", megabytes(all, Levelling::read));
    row.put("writeMBps", megabytes(all, Levelling::write));
    row.put("readWhileWritingMBps", megabytes(all, each -> each.atOnce()[0]));
    row.put("writeWhileReadingMBps", megabytes(all, each -> each.atOnce()[1]));
    row.put("linkMBps", megabytes(all, Levelling::carried));
    row.put("emptyMillis", Figure.of(Speed.median(all, Levelling::emptyNanos) / 1e6, 1));
    row.put("resyncMBps", megabytes(all, Levelling::rate));
    row.put("busyProcessors", Figure.of(Speed.median(all, Levelling::processors), 2));
    row.put("ratio", Figure.of(Speed.median(all, each -> each.rate() / each.slowest()), 3));
    row.put(
        "ratioToReadAndWriteAtOnce",
        Figure.of(Speed.median(all, each -> each.rate() / Math.min(each.carried(), Math.min(each.atOnce()[0], each.atOnce()[1]))), 3));
    return row;
  }

  private static BigDecimal megabytes(List<Levelling> all, ToDoubleFunction<Levelling> figure) {
    return Figure.of(Speed.median(all, figure) / 1e6, 0);
  }

  /** Bytes a second that one fio reads and another one writes meanwhile. */
  private double[] atOnce(MirrorFiles files) throws IOException, InterruptedException {
    FutureTask<Double> reading = new FutureTask<>(() -> Fio.run(READ, seconds, files.bytes(), files.one()).getFirst().iops() * READ.blockBytes());
    Thread.ofPlatform().start(reading);
    double write = Fio.run(WRITE, seconds, files.bytes(), files.two()).getFirst().iops() * WRITE.blockBytes();
    try {
      return new double[] {reading.get(), write};
    } catch (ExecutionException e) {
      throw new IOException("fio failed beside another one: " + e.getMessage(), e);
    }
  }

  /** One block in a hundred has changed, anywhere, on an image that is mostly holes. */
  List<Map<String, Object>> outage(int megabytes) throws IOException {
    Path folder = Files.createTempDirectory(places.primary(), "dyad-outage");
    Path standbyFolder = Files.createTempDirectory(places.standby(), "dyad-outage");
    Path one = folder.resolve("one");
    Path two = standbyFolder.resolve("two");
    try {
      long bytes = (long) megabytes << 20;
      for (Path image : new Path[] {one, two}) {
        try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
          file.setLength(bytes);
        }
      }
      try (MirrorPair pair = new MirrorPair(one, two, links.getFirst(), false)) {
        pair.disconnect();
        SplittableRandom random = new SplittableRandom(42);
        long blocks = bytes / BLOCK;
        fill(pair, blocks / 100, BLOCK, index -> random.nextLong(blocks) * BLOCK);
        long nanos = pair.connect();
        long moved = pair.disk().resync().copiedBytes();
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("resync", "outage");
        row.put("link", links.getFirst());
        row.put("imageMB", megabytes);
        row.put("changedPercent", 1);
        row.put("movedPercent", Figure.of(moved * 100.0 / bytes, 3));
        row.put("comparedPercent", Figure.of(pair.disk().resync().comparedBytes() * 100.0 / bytes, 3));
        row.put("seconds", Figure.of(nanos / 1e9, 2));
        return List.of(row);
      }
    } finally {
      for (Path file : new Path[] {one, two, DiskFiles.metadata(one), DiskFiles.metadata(two), folder, standbyFolder}) {
        Files.deleteIfExists(file);
      }
    }
  }

  private interface Place {
    long offset(long index);
  }

  /** Writes that many pieces, all in one go, each with content of its own. */
  private static void fill(MirrorPair pair, long count, int bytes, Place place) {
    BlockDevice disk = pair.disk();
    int depth = 16;
    try (Mapping data = Mapping.anonymous((long) depth * bytes)) {
      long[] done = new long[1];
      BlockDevice.Completions completions =
          (tag, error) -> {
            if (error < 0) {
              throw new IllegalStateException("a write failed: errno " + -error);
            }
            done[0]++;
          };
      long submitted = 0;
      while (done[0] < count) {
        if (submitted == done[0]) { // a batch at a time: their buffers are free
          for (int i = 0; i < depth && submitted < count; i++, submitted++) {
            long at = data.hostVirt() + (long) i * bytes;
            Memory.putLong(at, submitted + 1);
            if (!disk.submit(BlockDevice.WRITE, 0, place.offset(submitted), bytes, at, submitted)) {
              throw new IllegalStateException("an idle disk took " + i + " requests, needed are " + depth);
            }
          }
        }
        pair.turn(System.nanoTime());
        disk.poll(completions);
      }
      while (!pair.disk().isIdle()) {
        disk.poll(completions);
      }
    }
  }
}
