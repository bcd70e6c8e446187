package dev.dyad.engine.cli;

import dev.dyad.engine.node.HostReport;
import dev.dyad.engine.observe.RuntimeDirectory;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code dyad status}: what every node of this user on this host says of itself, and orphans that nobody speaks for. */
@Command(
    name = "status",
    mixinStandardHelpOptions = true,
    description = "Show the nodes on this host: protected or why not, epochs, pauses, held packets, orphans.")
public final class StatusCommand implements Callable<Integer> {
  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws IOException {
    boolean json = output == OutputFormat.json;
    HostReport report = HostReport.gather(json);
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    if (json) {
      out.println(report.toJson());
    } else {
      report.nodes().forEach(out::print);
      report.orphans().forEach(out::println);
      if (report.nodes().isEmpty() && report.orphans().isEmpty()) {
        out.println("no node runs on this host for this user (looked in " + RuntimeDirectory.path() + ")");
      }
    }
    out.flush();
    return !report.orphans().isEmpty() ? ExitCode.FINDING : report.nodes().isEmpty() ? ExitCode.UNAVAILABLE : ExitCode.OK;
  }
}
