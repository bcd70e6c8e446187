package dev.dyad.perf.profile;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import dev.dyad.perf.pair.MicroVmPair;
import dev.dyad.perf.pair.OutsideClient;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad perf profile}: records a node while it works and draws where its time goes. */
@Command(
    name = "profile",
    mixinStandardHelpOptions = true,
    description = "Record a node while it works (JFR) and write a flame graph of its threads, with the figures of its epochs.")
public final class ProfileCommand implements Callable<Integer> {
  private static final Duration BOUND = Duration.ofSeconds(30);
  private static final int SAMPLE_MILLIS = 5;

  @Option(names = "--pid", paramLabel = "PID", description = "process of a running node, as dyad status shows it (default: a pair with the built-in guest and a client is started for it)")
  private long pid;

  @Option(names = "--seconds", paramLabel = "N", defaultValue = "10", description = "how long to record (default ${DEFAULT-VALUE})")
  private int seconds;

  @Option(names = "--dir", paramLabel = "DIR", defaultValue = ".", description = "where profile.jfr and flame.svg go (default: the current directory)")
  private Path directory = Path.of(".");

  @Option(names = "--pages", paramLabel = "N", defaultValue = "1000", description = "pages that the guest of our own pair writes to (default ${DEFAULT-VALUE})")
  private long pages;

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws InterruptedException {
    Path jfr = directory.resolve("profile.jfr");
    Path svg = directory.resolve("flame.svg");
    try {
      Files.createDirectories(directory);
      if (pid > 0) {
        record(pid, jfr);
      } else {
        recordPair(jfr);
      }
      Recording recording = Recording.read(jfr);
      String source = recording.hasCpuTime() ? "CPU time" : "running Java code";
      Files.writeString(svg, FlameGraph.svg(recording.stacks(), "dyad: " + source + " in " + seconds + " s, " + recording.stacks().root().count + " samples"));
      report(recording, source, jfr, svg);
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "no profile: " + e.getMessage());
    }
    return ExitCode.OK;
  }

  private void recordPair(Path jfr) throws IOException, InterruptedException {
    if (!Kvm.unusable().isEmpty()) {
      throw new CommandFailure(ExitCode.PERMISSION, Kvm.unusable() + "; needed is read and write access to it, or --pid of a node that runs");
    }
    try (MicroVmPair pair = new MicroVmPair(new MicroVmPair.Options("10ms", "1s", 64, 1, pages, 0, 0))) {
      pair.startStandby();
      long node = pair.startPrimary().pid();
      pair.awaitProtected(BOUND);
      OutsideClient client = pair.startClient();
      if (!client.awaitAcked(1, BOUND)) {
        throw new IOException("the client got no reply: " + client.problem());
      }
      record(node, jfr);
    }
  }

  private void record(long node, Path jfr) throws IOException, InterruptedException {
    Jcmd jcmd = new Jcmd(node);
    jcmd.start(SAMPLE_MILLIS);
    Thread.sleep(seconds * 1_000L);
    jcmd.stop(jfr);
  }

  private void report(Recording recording, String source, Path jfr, Path svg) {
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("seconds", seconds);
    report.put("samplesOf", source);
    report.put("samples", recording.stacks().root().count);
    report.put("threads", recording.threads());
    report.putAll(recording.epochs());
    report.put("recording", jfr.toString());
    report.put("flameGraph", svg.toString());
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    if (output == OutputFormat.json) {
      out.println(Json.write(report));
    } else {
      report.forEach((name, value) -> out.printf("%-14s %s%n", name, value));
    }
    out.flush();
  }
}
