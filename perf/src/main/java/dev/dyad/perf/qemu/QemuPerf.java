package dev.dyad.perf.qemu;

import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/**
 * The measurements of {@code dyad perf qemu}, each on a running guest under redis-benchmark; whatever is compared runs in turn on
 * the same guest, in rounds, so that drift meets all of it alike.
 */
final class QemuPerf {
  /** What can be measured. */
  enum Part {
    /** Pause and throughput: unprotected, ours, ours without shipping, C. */
    compare,
    /** Many clients, held output. */
    throughput,
    /** One client, adaptive epochs. */
    latency,
    /** The comparison over the period. */
    sweep,
    /** Kill to first reply. */
    failover
  }

  /**
   * @param periodNanos of the comparison
   * @param seconds of one window
   * @param quick fewer rounds and periods
   */
  record Options(long periodNanos, double seconds, int rounds, int clients, int memoryMib, boolean quick, Set<Part> parts) {}

  private static final Duration PROTECT_BOUND = Duration.ofSeconds(60);
  private static final Duration REPLY_BOUND = Duration.ofSeconds(20);

  // A false alarm would end the measurement; only the failover's bound is a figure of it.
  private static final Duration CALM_BOUND = Duration.ofSeconds(2);
  private static final Duration FAILOVER_BOUND = Duration.ofMillis(100);
  private static final double FAILOVER_ALLOWANCE_MILLIS = 60;

  private static final long THROUGHPUT_PERIOD_NANOS = 10_000_000L;
  private static final int THROUGHPUT_CLIENTS = 256;
  private static final double[] SWEEP_MILLIS = {2, 5, 10, 20, 50};
  private static final double[] QUICK_SWEEP_MILLIS = {10};

  /** A window: epochs and SET/s. */
  private record Measured(EpochFigures epochs, double setsPerSecond, Map<String, Object> cores) {
    static Measured typical(List<Measured> runs) {
      return new Measured(
          EpochFigures.typical(runs.stream().map(Measured::epochs).toList()), Quantiles.median(runs, Measured::setsPerSecond), runs.getLast().cores);
    }

    Map<String, Object> toMap() {
      Map<String, Object> map = epochs.toMap();
      map.put("setsPerSecond", Quantiles.rounded(setsPerSecond));
      if (!cores.isEmpty()) {
        map.put("cores", cores);
      }
      return map;
    }
  }

  private final Options options;
  private final Consumer<String> progress;
  private final Map<String, Object> report = new LinkedHashMap<>();
  private final Map<String, Object> goals = new LinkedHashMap<>();

  QemuPerf(Options options, Consumer<String> progress) {
    this.options = options;
    this.progress = progress;
  }

  Map<String, Object> run() throws InterruptedException {
    Set<Part> parts = options.parts();
    if (parts.contains(Part.compare) || parts.contains(Part.throughput) || parts.contains(Part.latency) || parts.contains(Part.sweep)) {
      try (LinuxPair pair = new LinuxPair(new LinuxPair.Options("10ms", CALM_BOUND.toMillis() + "ms", options.memoryMib(), "tcp", List.of()))) {
        CBaseline c = new CBaseline(pair);
        progress.accept("booting a Linux of " + options.memoryMib() + " MiB in a stock QEMU");
        pair.startGuest();
        PrimaryProcess primary = new PrimaryProcess(pair);
        if (parts.contains(Part.compare)) {
          compare(pair, primary, c);
        }
        if (parts.contains(Part.throughput)) {
          throughput(pair, primary, c);
        }
        if (parts.contains(Part.latency)) {
          latency(pair, primary);
        }
        if (parts.contains(Part.sweep)) {
          sweep(pair, primary, c);
        }
      }
    }
    if (parts.contains(Part.failover)) {
      failover();
    }
    report.put("goals", goals);
    return report;
  }

  // ---- the parts

  private void compare(LinuxPair pair, PrimaryProcess primary, CBaseline c) {
    List<Double> unprotected = new ArrayList<>();
    Map<String, Object> freeCores = Map.of();
    List<Measured> ours = new ArrayList<>();
    List<Measured> bare = new ArrayList<>();
    List<Measured> theirs = new ArrayList<>();
    try (RedisLoad load = new RedisLoad(pair, options.clients())) {
      Waiting.seconds(warmup());
      for (int round = 1; round <= options.rounds(); round++) {
        String of = " (round " + round + " of " + options.rounds() + ")";
        progress.accept("unprotected" + of);
        CpuTime before = cpu(pair, load);
        unprotected.add(rate(load));
        freeCores = cpu(pair, load).coresSince(before);
        progress.accept("ours, held output" + of);
        ours.add(ours(pair, primary, load, options.periodNanos(), false));
        progress.accept("ours without shipping" + of);
        bare.add(bare(pair, primary, load, options.periodNanos()));
        progress.accept("C" + of);
        theirs.add(c(c, load, options.periodNanos()));
      }
    }
    Measured own = Measured.typical(ours);
    Measured alone = Measured.typical(bare);
    Measured yardstick = Measured.typical(theirs);
    double free = Quantiles.median(unprotected, Double::doubleValue);
    report.put("periodMillis", options.periodNanos() / 1e6);
    report.put("clients", options.clients());
    report.put("memoryMib", options.memoryMib());
    report.put("rounds", options.rounds());
    report.put("ours", own.toMap());
    report.put("bare", alone.toMap());
    report.put("c", yardstick.toMap());
    report.put("unprotected", Map.of("setsPerSecond", Quantiles.rounded(free), "cores", freeCores));
    Map<String, Object> ratios = new LinkedHashMap<>();
    ratios.put("pauseP50", ratio(own.epochs().pauseMicros().p50(), yardstick.epochs().pauseMicros().p50()));
    ratios.put("pauseP99", ratio(own.epochs().pauseMicros().p99(), yardstick.epochs().pauseMicros().p99()));
    ratios.put("cutP50", ratio(own.epochs().cutMicros().p50(), yardstick.epochs().cutMicros().p50()));
    ratios.put("barePauseP50", ratio(alone.epochs().pauseMicros().p50(), yardstick.epochs().pauseMicros().p50()));
    ratios.put("barePauseP99", ratio(alone.epochs().pauseMicros().p99(), yardstick.epochs().pauseMicros().p99()));
    ratios.put("throughput", ratio(own.setsPerSecond(), free));
    ratios.put("cThroughput", ratio(yardstick.setsPerSecond(), free));
    report.put("ratios", ratios);
    goals.put("pauseP50AtMost1.05OfC", own.epochs().pauseMicros().p50() <= 1.05 * yardstick.epochs().pauseMicros().p50());
    goals.put("pauseP50Below1ms", own.epochs().pauseMicros().p50() < 1000);
  }

  private void throughput(LinuxPair pair, PrimaryProcess primary, CBaseline c) {
    List<Double> unprotected = new ArrayList<>();
    List<Measured> fixed = new ArrayList<>();
    List<Measured> adaptive = new ArrayList<>();
    List<Measured> theirs = new ArrayList<>();
    Map<String, Object> freeCores = Map.of();
    try (RedisLoad load = new RedisLoad(pair, THROUGHPUT_CLIENTS)) {
      Waiting.seconds(warmup());
      for (int round = 1; round <= options.rounds(); round++) {
        progress.accept(THROUGHPUT_CLIENTS + " clients at 10 ms (round " + round + " of " + options.rounds() + ")");
        CpuTime before = cpu(pair, load);
        unprotected.add(rate(load));
        freeCores = cpu(pair, load).coresSince(before);
        fixed.add(ours(pair, primary, load, THROUGHPUT_PERIOD_NANOS, false));
        adaptive.add(ours(pair, primary, load, THROUGHPUT_PERIOD_NANOS, true));
        theirs.add(c(c, load, THROUGHPUT_PERIOD_NANOS));
      }
    }
    double free = Quantiles.median(unprotected, Double::doubleValue);
    double ratio = ratio(Measured.typical(fixed).setsPerSecond(), free);
    Map<String, Object> part = new LinkedHashMap<>();
    part.put("clients", THROUGHPUT_CLIENTS);
    part.put("periodMillis", THROUGHPUT_PERIOD_NANOS / 1e6);
    part.put("unprotected", Map.of("setsPerSecond", Quantiles.rounded(free), "cores", freeCores));
    part.put("c", Measured.typical(theirs).toMap());
    part.put("fixed", Measured.typical(fixed).toMap());
    part.put("adaptive", Measured.typical(adaptive).toMap());
    part.put("ratio", ratio);
    part.put("cRatio", ratio(Measured.typical(theirs).setsPerSecond(), free));
    part.put("adaptiveRatio", ratio(Measured.typical(adaptive).setsPerSecond(), free));
    report.put("throughput", part);
    goals.put("throughputAtLeast0.85", ratio >= 0.85);
  }

  private void latency(LinuxPair pair, PrimaryProcess primary) {
    progress.accept("one client, adaptive");
    List<Quantiles> unprotected = new ArrayList<>();
    List<Quantiles> ours = new ArrayList<>();
    List<EpochFigures> epochs = new ArrayList<>();
    double roundTrip = Quantiles.number(primary.tell("roundtrip"), "micros");
    for (int round = 1; round <= options.rounds(); round++) {
      unprotected.add(RedisLoad.latencyMicros(pair, 1, options.seconds() / 2));
      protect(pair, primary, THROUGHPUT_PERIOD_NANOS, true);
      RedisLoad.latencyMicros(pair, 1, warmup());
      primary.tell("mark");
      ours.add(RedisLoad.latencyMicros(pair, 1, options.seconds() / 2));
      epochs.add(EpochFigures.of(primary.tell("report")));
      release(pair, primary);
    }
    Quantiles free = Quantiles.typical(unprotected);
    Quantiles held = Quantiles.typical(ours);
    EpochFigures figures = EpochFigures.typical(epochs);
    double goal = free.p50() + figures.pauseMicros().p50() + 1.5 * roundTrip;
    Map<String, Object> part = new LinkedHashMap<>();
    part.put("unprotectedMicros", free.toMap());
    part.put("protectedMicros", held.toMap());
    part.put("linkRoundTripMicros", Quantiles.rounded(roundTrip));
    part.put("pauseMicros", figures.pauseMicros().toMap());
    part.put("cutMicros", figures.cutMicros().toMap());
    part.put("shipMicros", figures.shipMicros().toMap());
    part.put("commitMicros", figures.commitMicros().toMap());
    part.put("goalMicros", Quantiles.rounded(goal));
    report.put("latency", part);
    goals.put("latencyP50AtMostUnprotectedPlusPausePlus1.5RoundTrips", held.p50() <= goal);
  }

  private void sweep(LinuxPair pair, PrimaryProcess primary, CBaseline c) {
    List<Object> rows = new ArrayList<>();
    try (RedisLoad load = new RedisLoad(pair, THROUGHPUT_CLIENTS)) {
      Waiting.seconds(warmup());
      for (double millis : options.quick() ? QUICK_SWEEP_MILLIS : SWEEP_MILLIS) {
        progress.accept("period " + millis + " ms: ours, C, unprotected");
        long period = (long) (millis * 1e6);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("periodMillis", millis);
        row.put("ours", ours(pair, primary, load, period, false).toMap());
        row.put("c", c(c, load, period).toMap());
        row.put("unprotected", Map.of("setsPerSecond", Quantiles.rounded(rate(load))));
        rows.add(row);
      }
    }
    report.put("sweep", rows);
  }

  private void failover() throws InterruptedException {
    List<Double> millis = new ArrayList<>();
    List<Double> answers = new ArrayList<>();
    for (int run = 1; run <= (options.quick() ? 1 : 3); run++) {
      progress.accept("failover, run " + run);
      try (LinuxPair pair = new LinuxPair(new LinuxPair.Options("10ms", FAILOVER_BOUND.toMillis() + "ms", options.memoryMib(), "tcp", List.of()))) {
        pair.startGuest();
        OutsideClient client = pair.startClient();
        pair.startStandby(1);
        pair.startAttach();
        pair.awaitProtected(PROTECT_BOUND);
        FirstAnswer probe = FirstAnswer.start(pair);
        Waiting.seconds(1 + options.seconds() / 4);
        long killed = pair.killPrimary();
        long acked = client.acked();
        if (!client.awaitAcked(acked + 100, REPLY_BOUND)) {
          throw new IllegalStateException("no reply after the failover: " + client.problem() + "\n" + pair.logs());
        }
        OutsideClient.Gap gap = client.gapAround(killed);
        millis.add(gap == null ? 0 : (gap.toNanos() - killed) / 1e6);
        answers.add(probe.millisAfter(killed, REPLY_BOUND));
        OutsideClient.Verdict verdict = client.finish(REPLY_BOUND);
        if (verdict.reset() || verdict.lost() > 0) {
          throw new IllegalStateException("after the failover " + verdict.lost() + " of " + verdict.acked() + " writes are lost, connection reset: " + verdict.reset());
        }
      }
    }
    double goal = FAILOVER_BOUND.toMillis() + FAILOVER_ALLOWANCE_MILLIS;
    double worst = answers.stream().mapToDouble(Double::doubleValue).max().orElse(0);
    Map<String, Object> part = new LinkedHashMap<>();
    part.put("boundMillis", FAILOVER_BOUND.toMillis());
    part.put("killToAnswerMillis", answers.stream().map(Quantiles::rounded).toList());
    part.put("killToReplyMillis", millis.stream().map(Quantiles::rounded).toList());
    part.put("goalMillis", goal);
    report.put("failover", part);
    goals.put("failoverAtMostBoundPlus60ms", worst <= goal);
  }

  // ---- one window each

  private double rate(RedisLoad load) {
    load.mark();
    Waiting.seconds(options.seconds());
    return load.setsPerSecond();
  }

  private Measured ours(LinuxPair pair, PrimaryProcess primary, RedisLoad load, long periodNanos, boolean adaptive) {
    protect(pair, primary, periodNanos, adaptive);
    Waiting.seconds(warmup());
    primary.tell("mark");
    CpuTime before = cpu(pair, load).addPrimary(primary.pid()).add("standby", pair.standby().pid());
    double rate = rate(load);
    CpuTime after = cpu(pair, load).addPrimary(primary.pid()).add("standby", pair.standby().pid());
    EpochFigures figures = EpochFigures.of(primary.tell("report"));
    release(pair, primary);
    return new Measured(figures, rate, after.coresSince(before));
  }

  private static CpuTime cpu(LinuxPair pair, RedisLoad load) {
    return new CpuTime().addQemu(pair.guest().pid()).add("load", load.pid());
  }

  private Measured bare(LinuxPair pair, PrimaryProcess primary, RedisLoad load, long periodNanos) {
    load.mark();
    EpochFigures figures = EpochFigures.of(primary.tell("bare " + pair.guest().qmp() + " " + periodNanos + " " + options.seconds() + " " + warmup()));
    return new Measured(figures, load.setsPerSecond(), Map.of());
  }

  private Measured c(CBaseline c, RedisLoad load, long periodNanos) {
    load.mark();
    EpochFigures figures = c.run(periodNanos, options.seconds(), warmup());
    return new Measured(figures, load.setsPerSecond(), Map.of());
  }

  private void protect(LinuxPair pair, PrimaryProcess primary, long periodNanos, boolean adaptive) {
    pair.startStandby(1);
    primary.attach(periodNanos, CALM_BOUND, adaptive, PROTECT_BOUND);
  }

  private static void release(LinuxPair pair, PrimaryProcess primary) {
    primary.tell("detach");
    pair.killStandby();
    Waiting.seconds(0.3);
  }

  private double warmup() {
    return options.quick() ? 0.3 : 2;
  }

  private static double ratio(double value, double of) {
    return of == 0 ? 0 : Quantiles.rounded(value / of);
  }
}
