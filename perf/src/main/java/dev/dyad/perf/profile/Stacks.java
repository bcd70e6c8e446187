package dev.dyad.perf.profile;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Samples of call stacks, merged from the root: how many had this frame below the same callers. */
final class Stacks {
  /** A frame below its callers; {@code count} samples passed it or ended in it. */
  static final class Frame {
    final String name;
    final Map<String, Frame> callees = new TreeMap<>();
    long count;

    Frame(String name) {
      this.name = name;
    }

    /** Frames above each other that each have {@code countMin} samples or more, itself included. */
    int depth(double countMin) {
      return 1 + callees.values().stream().filter(callee -> callee.count >= countMin).mapToInt(callee -> callee.depth(countMin)).max().orElse(0);
    }
  }

  private final Frame root = new Frame("all");

  /** One sample, the outermost caller first. */
  void add(List<String> frames) {
    Frame at = root;
    at.count++;
    for (String name : frames) {
      at = at.callees.computeIfAbsent(name, Frame::new);
      at.count++;
    }
  }

  Frame root() {
    return root;
  }
}
