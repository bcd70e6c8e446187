package dev.dyad.engine.cli.top;

import dev.dyad.engine.node.NodeSnapshot;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One node as it is shown.
 *
 * @param before what it said the last time, for rates; null at first
 */
record NodeRow(NodeSnapshot now, @Nullable NodeSnapshot before) {

  String title() {
    String name = now.name().isEmpty() ? "(no machine yet)" : now.name();
    return name + "  " + now.role() + ", " + (now.isProtected() ? "protected" : "NOT protected (" + now.state() + ")") + ", pid " + now.pid();
  }

  /** What it has to say in numbers, in two groups. */
  List<String> figures() {
    List<String> epochs = new ArrayList<>();
    if (now.epoch() >= 0) {
      epochs.add(String.format("epoch %,d", now.epoch()));
    }
    double epochRate = rate(now.epoch(), before == null ? -1 : before.epoch());
    if (epochRate >= 0) {
      epochs.add(String.format("%,.0f /s", epochRate));
    }
    if (now.commitAgeMillis() >= 0) {
      epochs.add(String.format("commit age %,.1f ms", now.commitAgeMillis()));
    }
    if (now.generation() >= 0) {
      epochs.add("generation " + now.generation());
    }
    List<String> pause = new ArrayList<>();
    if (now.pauseMicros().max() > 0) {
      pause.add(String.format("pause p50 %,.0f p99 %,.0f max %,.0f µs", now.pauseMicros().p50(), now.pauseMicros().p99(), now.pauseMicros().max()));
    }
    if (now.pages() >= 0) {
      pause.add(String.format("pages %,d", now.pages()));
    }
    double byteRate = rate(now.bytesShipped(), before == null ? -1 : before.bytesShipped());
    if (byteRate >= 0) {
      pause.add(String.format("%,.2f MB/s", byteRate / 1e6));
    }
    if (now.heldPackets() >= 0) {
      pause.add(String.format("held %,d", now.heldPackets()));
    }
    List<String> groups = new ArrayList<>(List.of(String.join("   ", epochs), String.join("   ", pause)));
    groups.removeIf(String::isEmpty);
    return groups;
  }

  /** A second, or −1 where there is none. */
  private double rate(long value, long earlier) {
    NodeSnapshot last = before;
    return last == null || earlier < 0 || value < earlier || now.nanos() <= last.nanos() ? -1 : (value - earlier) * 1e9 / (now.nanos() - last.nanos());
  }

  /** All of it in a line. */
  String line() {
    return title() + "  " + String.join("   ", figures()) + (now.why().isEmpty() ? "" : "   (" + now.why() + ")");
  }
}
