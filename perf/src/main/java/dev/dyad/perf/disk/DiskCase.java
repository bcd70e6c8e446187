package dev.dyad.perf.disk;

import java.util.ArrayList;
import java.util.List;

/**
 * What is measured.
 *
 * @param flushEvery a flush after that many writes, 0 for none
 */
record DiskCase(boolean random, boolean write, int blockBytes, int queueDepth, int flushEvery) {
  static final List<DiskCase> ALL = all();

  /** Enough of each kind of request for the compilers. */
  static final List<DiskCase> WARM_UP =
      List.of(new DiskCase(true, true, 4096, 64, 64), new DiskCase(true, false, 4096, 64, 0), new DiskCase(false, true, 65536, 8, 0), new DiskCase(true, true, 4096, 1, 0));

  private static List<DiskCase> all() {
    List<DiskCase> all = new ArrayList<>();
    for (int depth : new int[] {1, 8, 64}) {
      all.add(new DiskCase(true, true, 4096, depth, 0));
      all.add(new DiskCase(true, true, 4096, depth, depth));
      all.add(new DiskCase(true, false, 4096, depth, 0));
      all.add(new DiskCase(false, true, 65536, depth, 0));
      all.add(new DiskCase(false, true, 65536, depth, depth));
      all.add(new DiskCase(false, false, 65536, depth, 0));
    }
    return List.copyOf(all);
  }

  String pattern() {
    return (random ? "rand" : "") + (write ? "write" : "read") + (flushEvery > 0 ? "+flush" : "");
  }
}
