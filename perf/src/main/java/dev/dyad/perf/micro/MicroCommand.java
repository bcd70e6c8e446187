package dev.dyad.perf.micro;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import dev.dyad.perf.Baseline;
import dev.dyad.perf.MachineDescription;
import dev.dyad.perf.NativeProgram;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
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
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;
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

  /**
   * JMH's own share goes with time: 5 to 8 bytes a millisecond, whatever is measured. An object of ours would have 16 bytes at least, which is seen in an operation of
   * up to 1.5 ms.
   */
  private static final double ALLOCATED_MAX = 1;

  private static final double ALLOCATED_NANO_MAX = 10e-6;

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

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  /**
   * One piece.
   *
   * @param bytes allocated in an operation, JMH's own share in it
   * @param c nanoseconds of the same in C; null: there is none
   */
  private record Piece(double nanos, double bytes, @Nullable Double c) {
    boolean allocates() {
      return bytes > ALLOCATED_MAX + ALLOCATED_NANO_MAX * nanos;
    }
  }

  @Override
  public Integer call() throws RunnerException {
    Baseline before = baseline == null ? null : Baseline.open(baseline);
    Map<String, Double> c = c();
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
                .build(),
            OutputFormatFactory.createFormatInstance(System.err, VerboseMode.NORMAL))
        .run();
    c().forEach((name, again) -> c.merge(name, again, (first, second) -> (first + second) / 2)); // before and after: drift of the machine meets both
    Map<String, Piece> pieces = pieces(results, c);
    Map<String, Double> figures = ratios(pieces);
    Map<String, Double> overBaseline = before == null ? Map.of() : before.ratios(figures);
    if (saved != null) {
      Baseline.save(saved, figures);
    }
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    out.println(output == OutputFormat.json ? Json.write(report(pieces, overBaseline)) : text(pieces, overBaseline));
    out.flush();
    return pieces.values().stream().anyMatch(Piece::allocates) ? ExitCode.FINDING : ExitCode.OK;
  }

  private static Map<String, Piece> pieces(Collection<RunResult> results, Map<String, Double> c) {
    Map<String, Piece> pieces = new LinkedHashMap<>();
    for (RunResult result : results) {
      String name = name(result.getParams());
      Result<?> nanos = result.getPrimaryResult();
      double[] bytes = {0};
      result.getSecondaryResults().forEach((label, value) -> bytes[0] += label.endsWith(ALLOCATED) ? ((Result<?>) value).getScore() : 0);
      pieces.put(name, new Piece(nanos.getScore() * nanosPerUnit(nanos), bytes[0], c.get(name)));
    }
    return pieces;
  }

  private static double nanosPerUnit(Result<?> result) {
    return result.getScoreUnit().startsWith("us") ? 1e3 : 1;
  }

  /** What is kept: ours over C. */
  private static Map<String, Double> ratios(Map<String, Piece> pieces) {
    Map<String, Double> ratios = new LinkedHashMap<>();
    pieces.forEach((name, piece) -> {
      Double c = piece.c();
      if (c != null) {
        ratios.put(name + " over C", rounded(piece.nanos() / c));
      }
    });
    return ratios;
  }

  private static double rounded(double value) {
    return Math.rint(value * 100) / 100;
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

  private static Map<String, Object> report(Map<String, Piece> pieces, Map<String, Double> overBaseline) {
    List<Map<String, Object>> list = new ArrayList<>();
    pieces.forEach((name, piece) -> {
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("name", name);
      one.put("oursNanos", rounded(piece.nanos()));
      one.put("allocatedBytes", rounded(piece.bytes()));
      Double c = piece.c();
      if (c != null) {
        one.put("cNanos", c);
        one.put("oursOverC", rounded(piece.nanos() / c));
      }
      list.add(one);
    });
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("machine", MachineDescription.here());
    report.put("pieces", list);
    report.put("allocatesNothing", pieces.values().stream().noneMatch(Piece::allocates));
    if (!overBaseline.isEmpty()) {
      report.put("overBaseline", overBaseline);
    }
    return report;
  }

  private static String text(Map<String, Piece> pieces, Map<String, Double> overBaseline) {
    StringBuilder out = new StringBuilder();
    out.append(String.format(Locale.ROOT, "%-42s %12s %8s %12s %8s %9s%n", "", "ours, ns", "B/op", "C, ns", "ours:C", "baseline"));
    pieces.forEach((name, piece) -> {
      Double theirs = piece.c();
      Double then = overBaseline.get(name + " over C");
      out.append(String.format(Locale.ROOT, "%-42s %12.1f %8.2f %12s %8s %9s%n", name, piece.nanos(), piece.bytes(),
          theirs == null ? "" : String.format(Locale.ROOT, "%.1f", theirs),
          theirs == null ? "" : String.format(Locale.ROOT, "%.2f", piece.nanos() / theirs),
          then == null ? "" : String.format(Locale.ROOT, "%.2f", then)));
    });
    List<String> allocating = pieces.entrySet().stream().filter(entry -> entry.getValue().allocates()).map(Map.Entry::getKey).toList();
    return out + (allocating.isEmpty() ? "none of the " + pieces.size() + " allocates: 0 B/op" : "these allocate, and must not: " + String.join(", ", allocating));
  }

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
