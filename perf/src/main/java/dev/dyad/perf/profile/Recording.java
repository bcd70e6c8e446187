package dev.dyad.perf.profile;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordedFrame;
import jdk.jfr.consumer.RecordedMethod;
import jdk.jfr.consumer.RecordedThread;
import jdk.jfr.consumer.RecordingFile;
import org.jspecify.annotations.Nullable;

/** What a JFR file of a node says: stacks by thread, and the events of its epochs. */
final class Recording {
  /** Samples by CPU time where the JVM has them, native calls included; else those of running Java code. */
  static final String CPU_TIME = "jdk.CPUTimeSample";

  static final String EXECUTION = "jdk.ExecutionSample";
  private static final String OURS = "dev.dyad.";

  /** In the name of a class that the JVM makes for a method handle or a lambda: it says nothing, and another one at each start. */
  private static final String GENERATED = "0x";

  private final Stacks cpu = new Stacks();
  private final Stacks execution = new Stacks();
  private final Map<String, Long> counts = new TreeMap<>();
  private final List<Long> pauses = new ArrayList<>();
  private final List<Long> commits = new ArrayList<>();
  private final Map<String, List<Long>> phases = new TreeMap<>();

  static Recording read(Path file) throws IOException {
    Recording recording = new Recording();
    try (RecordingFile events = new RecordingFile(file)) {
      while (events.hasMoreEvents()) {
        recording.add(events.readEvent());
      }
    }
    return recording;
  }

  private void add(RecordedEvent event) {
    String name = event.getEventType().getName();
    switch (name) {
      case CPU_TIME -> cpu.add(frames(event, event.getThread()));
      case EXECUTION -> execution.add(frames(event, event.getThread("sampledThread")));
      case "dyad.Epoch" -> pauses.add(event.getDuration("pause").toNanos());
      case "dyad.Commit" -> commits.add(event.getDuration("latency").toNanos());
      case "dyad.PausePhase" -> phases.computeIfAbsent(event.getString("phase"), phase -> new ArrayList<>()).add(event.getDuration("time").toNanos());
      default -> {}
    }
    if (name.startsWith("dyad.")) {
      counts.merge(name, 1L, Long::sum);
    }
  }

  private static List<String> frames(RecordedEvent event, @Nullable RecordedThread thread) {
    List<String> names = new ArrayList<>();
    if (event.getStackTrace() != null) {
      for (RecordedFrame frame : event.getStackTrace().getFrames()) {
        String name = name(frame.getMethod());
        if (!name.contains(GENERATED)) {
          names.add(name);
        }
      }
    }
    names.add(thread == null ? "?" : thread.getJavaName() != null ? thread.getJavaName() : "JVM: " + thread.getOSName());
    Collections.reverse(names);
    return names;
  }

  /** Ours without the root of the package, the JDK's with the last part of theirs. */
  private static String name(@Nullable RecordedMethod method) {
    if (method == null) {
      return "?";
    }
    String type = method.getType().getName();
    String shortened = type.startsWith(OURS) ? "dyad." + type.substring(type.lastIndexOf('.') + 1) : type.substring(type.lastIndexOf('.') + 1);
    return shortened + "." + method.getName();
  }

  boolean hasCpuTime() {
    return cpu.root().count > 0;
  }

  Stacks stacks() {
    return hasCpuTime() ? cpu : execution;
  }

  /** Numbers of our events by name, and quantiles of what they carry, in microseconds. */
  Map<String, Object> epochs() {
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("events", counts);
    report.put("pauseMicros", quantiles(pauses));
    report.put("commitMicros", quantiles(commits));
    Map<String, Object> parts = new LinkedHashMap<>();
    phases.forEach((phase, times) -> parts.put(phase, quantiles(times)));
    report.put("phasesMicros", parts);
    return report;
  }

  private static Map<String, Object> quantiles(List<Long> nanos) {
    Map<String, Object> map = new LinkedHashMap<>();
    List<Long> sorted = nanos.stream().sorted().toList();
    map.put("count", sorted.size());
    if (!sorted.isEmpty()) {
      map.put("p50", sorted.get(sorted.size() / 2) / 1e3);
      map.put("p99", sorted.get((int) ((sorted.size() - 1) * 0.99)) / 1e3);
      map.put("max", sorted.getLast() / 1e3);
    }
    return map;
  }

  /** Samples by thread, most first. */
  Map<String, Long> threads() {
    Map<String, Long> byThread = new LinkedHashMap<>();
    stacks().root().callees.values().stream().sorted((a, b) -> Long.compare(b.count, a.count)).forEach(thread -> byThread.put(thread.name, thread.count));
    return byThread;
  }
}
