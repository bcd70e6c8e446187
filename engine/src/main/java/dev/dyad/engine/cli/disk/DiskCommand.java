package dev.dyad.engine.cli.disk;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.node.DiskMaintenance;
import dev.dyad.engine.node.PrimaryNode;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code dyad disk}: compares a protected disk's two sides, and takes down what only a person can decide of an image. */
@Command(name = "disk", mixinStandardHelpOptions = true, description = "Compare the two sides of a protected disk; decide what an image counts for.")
public final class DiskCommand {
  private static final int POLL_MILLIS = 100;
  @Spec private @Nullable CommandSpec spec;

  private PrintWriter out() {
    return Objects.requireNonNull(spec).commandLine().getOut();
  }

  @Command(name = "verify", mixinStandardHelpOptions = true, description = "Compare both disks of a protected machine by checksum while it runs; name extents that differ. Changes nothing.")
  int verify(
      @Option(names = "--name", paramLabel = "NAME", defaultValue = "", description = "the machine, when several run here") String name,
      @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", defaultValue = "text", description = "text (default) or json") OutputFormat format)
      throws IOException, InterruptedException {
    Path socket = primary(name);
    String refused = StatusEndpoint.tell(socket, PrimaryNode.VERIFY_DISK);
    if (!refused.isEmpty()) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, refused);
    }
    Json disk = ask(socket).get("disk");
    while (disk.get("verifying").isTrue()) {
      Thread.sleep(POLL_MILLIS);
      disk = ask(socket).get("disk");
    }
    long blocks = disk.get("differingBlocks").number(-1);
    if (blocks < 0) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "the node ended while its disks were compared");
    }
    String extents = disk.get("differingExtents").text();
    if (format == OutputFormat.json) {
      out().println("{\"differingBlocks\":" + blocks + ",\"differingExtents\":" + extents + "}");
    } else {
      out().println(blocks == 0 ? "both disks are equal" : (blocks == 1 ? "1 block differs" : blocks + " blocks differ") + ", in extents " + extents);
    }
    out().flush();
    return blocks == 0 ? ExitCode.OK : ExitCode.FINDING;
  }

  @Command(name = "force", mixinStandardHelpOptions = true, description = "Declare an image good as it is, so that a machine may start from it.")
  int force(
      @Parameters(paramLabel = "FILE", description = "the image, used by nobody") Path image,
      @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", defaultValue = "text", description = "text (default) or json") OutputFormat format) {
    return say(format, image, DiskMaintenance.force(image.toAbsolutePath()), "counts as good now");
  }

  @Command(name = "discard", mixinStandardHelpOptions = true, description = "Declare an image's own history void: the next primary levels it.")
  int discard(
      @Parameters(paramLabel = "FILE", description = "the image, used by nobody") Path image,
      @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", defaultValue = "text", description = "text (default) or json") OutputFormat format) {
    return say(format, image, DiskMaintenance.discard(image.toAbsolutePath()), "will be levelled by the next primary, whatever it holds");
  }

  @Command(name = "reset", mixinStandardHelpOptions = true, description = "Forget all that is known of an image; its content stays.")
  int reset(
      @Parameters(paramLabel = "FILE", description = "the image, used by nobody") Path image,
      @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", defaultValue = "text", description = "text (default) or json") OutputFormat format) {
    return say(format, image, "metadata in " + DiskMaintenance.reset(image.toAbsolutePath()), "forgotten");
  }

  private int say(OutputFormat format, Path image, String found, String now) {
    out().println(format == OutputFormat.json ? Json.write(Map.of("image", image.toString(), "found", found, "now", now)) : image + ": " + found + "; " + now);
    out().flush();
    return ExitCode.OK;
  }

  /** The primary on this host that has a disk. */
  private static Path primary(String name) throws IOException {
    Path found = null;
    for (Path socket : RuntimeDirectory.statusSockets()) {
      Json report = ask(socket);
      boolean primary = report.get("role").text().equals("primary");
      if (primary && !report.get("disk").isAbsent() && (name.isEmpty() || report.get("name").text().equals(name))) {
        if (found != null) {
          throw new CommandFailure(ExitCode.USAGE, "several protected machines with a disk run here: name one with --name (dyad status lists them)");
        }
        found = socket;
      }
    }
    if (found == null) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "no primary" + (name.isEmpty() ? "" : " of " + name) + " with a protected disk runs on this host");
    }
    return found;
  }

  private static Json ask(Path socket) {
    try {
      return Json.parse(StatusEndpoint.ask(socket, true));
    } catch (IOException e) {
      return Json.parse("{}"); // its node is gone
    }
  }
}
