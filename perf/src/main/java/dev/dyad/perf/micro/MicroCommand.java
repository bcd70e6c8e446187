package dev.dyad.perf.micro;

import java.io.PrintWriter;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.profile.GCProfiler;
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
    description = "JMH benchmarks of the pieces on an epoch's path, with what they allocate.")
public final class MicroCommand implements Callable<Integer> {
  @Parameters(index = "0", arity = "0..1", paramLabel = "REGEX", defaultValue = ".*", description = "which benchmarks, by class and method (default: all)")
  private String regex = ".*";

  @Option(names = "--seconds", paramLabel = "N", defaultValue = "1", description = "length of an iteration (default ${DEFAULT-VALUE})")
  private int seconds;

  @Option(names = "--iterations", paramLabel = "N", defaultValue = "3", description = "measured iterations, after as many of warm-up (default ${DEFAULT-VALUE})")
  private int iterations;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws RunnerException {
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    out.flush();
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
    return 0;
  }
}
