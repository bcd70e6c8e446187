package dev.dyad.engine.cli;

import dev.dyad.engine.node.Orphans;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
    Path directory = RuntimeDirectory.path();
    List<String> answers = new ArrayList<>();
    try (DirectoryStream<Path> sockets = Files.newDirectoryStream(directory, "*.status")) {
      for (Path socket : sockets) {
        try {
          answers.add(StatusEndpoint.ask(socket, output == OutputFormat.json));
        } catch (IOException e) {
          Files.deleteIfExists(socket); // its node is gone
        }
      }
    }
    List<String> orphans = Orphans.describe(output == OutputFormat.json);
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    if (output == OutputFormat.json) {
      out.println("{\"nodes\":[" + String.join(",", answers) + "],\"orphans\":[" + String.join(",", orphans) + "]}");
    } else {
      answers.forEach(out::print);
      orphans.forEach(out::println);
      if (answers.isEmpty() && orphans.isEmpty()) {
        out.println("no node runs on this host for this user (looked in " + directory + ")");
      }
    }
    out.flush();
    return !orphans.isEmpty() ? ExitCode.FINDING : answers.isEmpty() ? ExitCode.UNAVAILABLE : ExitCode.OK;
  }
}
