package dev.dyad.perf.micro;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.perf.Baseline;
import dev.dyad.perf.NativeProgram;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code dyad perf micro}. */
@Command(
    name = "micro",
    mixinStandardHelpOptions = true,
    description = "JMH benchmarks of the pieces on an epoch's path, with what they allocate, beside a C program that does the same with the same bytes.")
public final class MicroCommand implements Callable<Integer> {
  private static final String ALLOCATED = "gc.alloc.rate.norm";

  /** Bytes an operation: JMH's own share in the measurement. */
  private static final double ALLOCATED_MAX = 1;

  @Parameters(index = "0", arity = "0..1", paramLabel = "REGEX", defaultValue = ".*", description = "which benchmarks, by class and method (default: all)")
  private String regex = ".*";

  @Option(names = "--seconds", paramLabel = "N", defaultValue = "1", description = "length of an iteration (default ${DEFAULT-VALUE})")
  private int seconds;

  @Option(names = "--iterations", paramLabel = "N", defaultValue = "3", description = "measured iterations, after as many of warm-up (default ${DEFAULT-VALUE})")
  private int iterations;

  @Option(names = "--baseline", paramLabel = "FILE", description = "compare with the figures kept there; refused for another machine's")
  private @Nullable Path baseline;

  @Option(names = "--save-baseline", paramLabel = "FILE", description = "keep this run's figures there")
  private @Nullable Path saved;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws RunnerException {
    Baseline before = baseline == null ? null : Baseline.open(baseline);
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    out.flush();
    Collection<RunResult> results =
        new Runner(
            new OptionsBuilder()
                .include(MicroCommand.class.getPackageName() + ".*" + regex)
                .forks(1)
                .jvmArgsAppend("--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC", "-Xmx256m")
                .warmupIterations(iterations)
                .measurementIterations(iterations)
                .warmupTime(TimeValue.seconds(seconds))
                .measurementTime(TimeValue.seconds(seconds))
                .addProfiler(GCProfiler.class)
                .build())
        .run();
    Map<String, Double> figures = new LinkedHashMap<>();
    Map<String, Double> allocated = new LinkedHashMap<>();
    for (RunResult result : results) {
      String name = name(result.getParams());
      figures.put(name, result.getPrimaryResult().getScore());
      result.getSecondaryResults().forEach((label, value) -> {
        if (label.endsWith(ALLOCATED)) {
          allocated.put(name, ((Result<?>) value).getScore());
        }
      });
    }
    Map<String, Double> c = figures.isEmpty() ? Map.of() : c();
    Map<String, Double> overBaseline = before == null ? Map.of() : before.ratios(figures);
    print(out, figures, allocated, c, overBaseline);
    if (saved != null) {
      Baseline.save(saved, figures);
    }
    return allocated.values().stream().anyMatch(bytes -> bytes > ALLOCATED_MAX) ? ExitCode.FINDING : ExitCode.OK;
  }

  /** {@code Class.method}, with the values of its parameters in brackets. */
  private static String name(BenchmarkParams params) {
    String full = params.getBenchmark();
    String name = full.substring(full.lastIndexOf('.', full.lastIndexOf('.') - 1) + 1);
    StringBuilder values = new StringBuilder();
    for (String key : params.getParamsKeys()) {
      values.append(values.isEmpty() ? "" : ",").append(params.getParam(key));
    }
    return values.isEmpty() ? name : name + "[" + values + "]";
  }

  private static void print(PrintWriter out, Map<String, Double> figures, Map<String, Double> allocated, Map<String, Double> c, Map<String, Double> overBaseline) {
    out.printf(Locale.ROOT, "%n%-46s %12s %10s %12s %8s %9s%n", "", "ours", "B/op", "C, ns", "ours:C", "baseline");
    figures.forEach((name, score) -> {
      Double theirs = c.get(name);
      Double then = overBaseline.get(name);
      out.printf(Locale.ROOT, "%-46s %12.1f %10.2f %12s %8s %9s%n", name, score, allocated.getOrDefault(name, 0.0),
          theirs == null ? "" : String.format(Locale.ROOT, "%.1f", theirs),
          theirs == null ? "" : String.format(Locale.ROOT, "%.2f", score / theirs),
          then == null ? "" : String.format(Locale.ROOT, "%.2f", then));
    });
    out.flush();
  }

  /** What {@code perf/native/micro.c} prints: nanoseconds by name. */
  private static Map<String, Double> c() {
    Map<String, Double> figures = new LinkedHashMap<>();
    try {
      Process process = new ProcessBuilder(NativeProgram.build("micro", "-msse4.2").toString()).start();
      new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).lines().forEach(line -> {
        int space = line.lastIndexOf(' ');
        figures.put(line.substring(0, space), Double.parseDouble(line.substring(space + 1)));
      });
    } catch (IllegalStateException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return figures;
  }
}
