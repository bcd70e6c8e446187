package dev.dyad.perf.kvm;

import dev.dyad.perf.MachineDescription;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Runs the cases: C and ours in turn, in rounds, so that drift of the machine meets both alike. One thread. */
final class KvmPerf {
  /**
   * @param epochs measured of each case and side, over all rounds
   * @param warmupEpochs before them, in each round; fewer where they write many pages ({@link #warmupEpochs})
   * @param warmupSeconds that our engine runs before the first case, until its code is compiled
   * @param spins turns that waiting threads spin, on both sides
   * @param variants of ours beside the usual
   */
  record Options(List<KvmCase> cases, int epochs, int warmupEpochs, int rounds, double warmupSeconds, int spins, Set<Variant> variants) {}

  private static final double PAUSE_RATIO_GOAL = 1.10;
  private static final double SIZE_RATIO_GOAL = 1.1;
  private static final double PAUSE_GOAL_MICROS = 1000;
  private static final double RATE_GOAL = 1000;
  private static final int SMALL_MIB = 256;
  private static final int LARGE_MIB = 8192;
  private static final KvmCase WARM_UP = new KvmCase(100, 64, 1);
  private static final int WARM_UP_EPOCHS = 2000;
  private static final int WARM_UP_PAGES = 250_000;
  private static final int WARM_UP_EPOCHS_MIN = 20;

  /** A case's two sides, pooled over the rounds. */
  private record Outcome(KvmCase of, EpochTimes ours, EpochTimes c, Map<Variant, EpochTimes> variants, double bytesPerEpoch) {
    double ratio(double percentile) {
      return EpochTimes.rounded(ours.pauseMicros(percentile) / c.pauseMicros(percentile));
    }

    Map<String, Object> toMap() {
      Map<String, Object> map = new LinkedHashMap<>();
      map.put("pages", of.pages());
      map.put("memoryMiB", of.memoryMib());
      map.put("vcpus", of.vcpus());
      map.put("ours", ours.toMap());
      map.put("c", c.toMap());
      map.put("ratios", Map.of("pauseP50", ratio(50), "pauseP99", ratio(99)));
      map.put("allocatedBytesPerEpoch", bytesPerEpoch);
      if (!variants.isEmpty()) {
        Map<String, Object> others = new LinkedHashMap<>();
        variants.forEach((variant, times) -> others.put(variant.name(), times.toMap()));
        map.put("variants", others);
      }
      return map;
    }
  }

  private final Options options;
  private final Consumer<String> progress;
  private final Consumer<Map<String, Object>> measured;

  /**
   * @param progress what is being done, a line at a time
   * @param measured each case when it is done, as it will be in the report
   */
  KvmPerf(Options options, Consumer<String> progress, Consumer<Map<String, Object>> measured) {
    this.options = options;
    this.progress = progress;
    this.measured = measured;
  }

  Map<String, Object> run() throws IOException {
    Path directory = Files.createTempDirectory("dyad-perf-kvm-");
    try (StandbyProcess standby = new StandbyProcess(directory)) {
      CProgram c = new CProgram(directory);
      warmUp(standby);
      List<Outcome> outcomes = new ArrayList<>();
      for (KvmCase one : options.cases()) {
        Outcome outcome = measure(one, standby, c);
        outcomes.add(outcome);
        measured.accept(outcome.toMap());
      }
      Map<String, Object> report = new LinkedHashMap<>();
      report.put("machine", MachineDescription.here());
      report.put("epochs", options.epochs());
      report.put("rounds", options.rounds());
      report.put("spins", options.spins());
      report.put("cases", outcomes.stream().map(Outcome::toMap).toList());
      report.put("goals", goals(outcomes));
      return report;
    } finally {
      deleteAll(directory);
    }
  }

  private static void deleteAll(Path directory) throws IOException {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  /** Both of our processes, on a guest that is not measured. */
  private void warmUp(StandbyProcess standby) {
    progress.accept("warming up");
    long end = System.nanoTime() + (long) (options.warmupSeconds() * 1e9);
    do {
      new EngineRun(WARM_UP, standby, options.spins(), Variant.usual).run(WARM_UP_EPOCHS, 0, new EpochTimes());
    } while (System.nanoTime() - end < 0);
  }

  private Outcome measure(KvmCase one, StandbyProcess standby, CProgram c) {
    EpochTimes ours = new EpochTimes();
    EpochTimes theirs = new EpochTimes();
    int epochs = Math.ceilDiv(options.epochs(), options.rounds());
    Map<Variant, EpochTimes> variants = new EnumMap<>(Variant.class);
    long bytes = 0;
    for (int round = 1; round <= options.rounds(); round++) {
      progress.accept(one + (options.rounds() > 1 ? " (round " + round + " of " + options.rounds() + ")" : ""));
      c.run(one, epochs, warmupEpochs(one), options.spins(), theirs);
      bytes += run(one, standby, Variant.usual, epochs, ours);
      for (Variant variant : options.variants()) {
        run(one, standby, variant, epochs, variants.computeIfAbsent(variant, key -> new EpochTimes()));
      }
    }
    return new Outcome(one, ours, theirs, variants, EpochTimes.rounded((double) bytes / ours.epochs()));
  }

  private long run(KvmCase one, StandbyProcess standby, Variant variant, int epochs, EpochTimes into) {
    return new EngineRun(one, standby, options.spins(), variant).run(epochs, warmupEpochs(one), into);
  }

  /** What is to be warm in a round is memory, and pages by the ten thousand warm it in few epochs. */
  private int warmupEpochs(KvmCase one) {
    return Math.clamp(WARM_UP_PAGES / one.pages(), WARM_UP_EPOCHS_MIN, options.warmupEpochs());
  }

  /** Goals that the cases say something about: reached or not. */
  private static Map<String, Object> goals(List<Outcome> outcomes) {
    Map<String, Object> goals = new LinkedHashMap<>();
    goals.put("pauseP50AtMost1.10OfC", outcomes.stream().allMatch(one -> one.ratio(50) <= PAUSE_RATIO_GOAL));
    goals.put("pauseP99AtMost1.10OfC", outcomes.stream().allMatch(one -> one.ratio(99) <= PAUSE_RATIO_GOAL));
    outcomes.stream().filter(one -> one.of().pages() == 1000 && one.of().vcpus() == 1).findFirst()
        .ifPresent(one -> goals.put("pauseP99Below1msAt1000Pages", one.ours().pauseMicros(99) < PAUSE_GOAL_MICROS));
    OptionalDouble slowest = outcomes.stream().filter(one -> one.of().pages() <= 100).mapToDouble(one -> one.ours().epochsPerSecond()).min();
    slowest.ifPresent(rate -> goals.put("atLeast1000EpochsPerSecondUpTo100Pages", rate >= RATE_GOAL));
    sizeRatio(outcomes).ifPresent(ratio -> {
      goals.put("pauseAt8GiBOver256MiB", EpochTimes.rounded(ratio));
      goals.put("pauseAt8GiBAtMost1.1Of256MiB", ratio <= SIZE_RATIO_GOAL);
    });
    return goals;
  }

  private static OptionalDouble sizeRatio(List<Outcome> outcomes) {
    return outcomes.stream().filter(one -> one.of().memoryMib() == LARGE_MIB)
        .flatMap(large -> outcomes.stream().filter(small -> small.of().equals(new KvmCase(large.of().pages(), SMALL_MIB, large.of().vcpus())))
            .map(small -> large.ours().pauseMicros(50) / small.ours().pauseMicros(50)))
        .mapToDouble(Double::doubleValue).max();
  }
}
