package dev.dyad.perf.qemu;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.DurationConverter;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.json.Json;
import dev.dyad.nic.NetworkLab;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad perf qemu}. */
@Command(
    name = "qemu",
    mixinStandardHelpOptions = true,
    description = "An attached QEMU under Redis load: pause, throughput, latency and failover, beside a C program that runs the same epochs.")
public final class QemuPerfCommand implements Callable<Integer> {
  private static final double QUICK_SECONDS = 1;

  @Option(names = "--period", paramLabel = "TIME", defaultValue = "5ms", converter = DurationConverter.class, description = "epoch of the comparison (default ${DEFAULT-VALUE})")
  private long periodNanos;

  @Option(names = "--seconds", paramLabel = "N", defaultValue = "5", description = "length of one window (default ${DEFAULT-VALUE})")
  private double seconds;

  @Option(names = "--rounds", paramLabel = "N", defaultValue = "2", description = "how often the comparison goes round (default ${DEFAULT-VALUE})")
  private int rounds;

  @Option(names = "--clients", paramLabel = "N", defaultValue = "128", description = "connections of the comparison's load (default ${DEFAULT-VALUE})")
  private int clients;

  @Option(names = "--memory", paramLabel = "MIB", defaultValue = "512", description = "the guest's memory (default ${DEFAULT-VALUE})")
  private int memoryMib;

  @Option(names = "--parts", paramLabel = "PART", split = ",", description = "some of ${COMPLETION-CANDIDATES} (default: all)")
  private Set<QemuPerf.Part> parts = EnumSet.allOf(QemuPerf.Part.class);

  @Option(names = "--plot", paramLabel = "DIR", description = "write the sweep's plots there as SVG")
  private @Nullable Path plot;

  @Option(names = "--quick", description = "a second for each window, one round, one period of the sweep: whether it works, not how fast it is")
  private boolean quick;

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws InterruptedException, IOException {
    CommandLine commandLine = Objects.requireNonNull(spec).commandLine();
    String noNetwork = NetworkLab.unavailable();
    if (!noNetwork.isEmpty()) {
      throw new CommandFailure(ExitCode.PERMISSION, noNetwork);
    }
    requireBenchmark();
    PrintWriter err = commandLine.getErr();
    QemuPerf.Options options =
        new QemuPerf.Options(periodNanos, quick ? QUICK_SECONDS : seconds, quick ? 1 : rounds, clients, memoryMib, quick, parts);
    Map<String, Object> report;
    try {
      report =
          new QemuPerf(options, line -> {
            err.println(line);
            err.flush();
          }).run();
    } catch (GuestUnavailableException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, String.valueOf(e.getMessage()));
    }
    String json = Json.write(report);
    if (plot != null) {
      Files.createDirectories(plot);
      SweepPlots.write(Json.parse(json), plot);
    }
    PrintWriter out = commandLine.getOut();
    out.println(output == OutputFormat.json ? json : ReportText.of(Json.parse(json)));
    out.flush();
    return ExitCode.OK;
  }

  private static void requireBenchmark() {
    try {
      new ProcessBuilder("redis-benchmark", "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor();
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "redis-benchmark was not found, and the load comes from it: apt-get install redis-tools");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
