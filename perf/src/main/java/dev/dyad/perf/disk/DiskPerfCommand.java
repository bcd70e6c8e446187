package dev.dyad.perf.disk;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/**
 * {@code dyad perf disk}: fio with io_uring and this engine on the same files in turn; two fio jobs at once and the mirror from one file to
 * the other; flushes of the mirror; and how fast a standby that comes back is level.
 */
@Command(
    name = "disk",
    mixinStandardHelpOptions = true,
    description = "Measure the disk beside fio: local, mirrored to a second file through a link, its flushes and its resync.")
public final class DiskPerfCommand implements Callable<Integer> {
  private static final double WARM_UP_SECONDS = 1;

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json; with json the rows go to standard error as they come")
  private OutputFormat output = OutputFormat.text;

  @Option(names = "--directory", paramLabel = "DIR", description = "where the files are made (default: the temporary directory)")
  private Path directory = Path.of(System.getProperty("java.io.tmpdir"));

  @Option(
      names = "--standby-directory",
      paramLabel = "DIR",
      description =
          "where the standby's image is made (default: /dev/shm as a stand-in for the other host's disk if it has direct access and room, else as --directory)")
  private @Nullable Path standbyDirectory;

  @Option(names = "--seconds", description = "time of each measurement (default: ${DEFAULT-VALUE})")
  private double seconds = 1;

  @Option(names = "--rounds", description = "of all measurements of a case in turn; their medians count (default: ${DEFAULT-VALUE})")
  private int rounds = 3;

  @Option(names = "--megabytes", description = "size of each file (default: ${DEFAULT-VALUE})")
  private int megabytes = 512;

  @Option(names = "--resync-megabytes", description = "size of the image that is levelled as a whole (default: ${DEFAULT-VALUE})")
  private int resyncMegabytes = 1024;

  @Option(names = "--outage-megabytes", description = "size of the image of which 1 %% changes while the standby is away (default: ${DEFAULT-VALUE})")
  private int outageMegabytes = 10 << 10;

  @Option(names = "--links", split = ",", description = "links of the mirror: shm, tcp (default: both)")
  private List<String> links = List.of("shm", "tcp");

  @Option(names = "--cases", split = ",", description = "only these: randwrite,randread,write,read,randwrite+flush,write+flush,flush,resync,outage")
  private List<String> only = List.of();

  @Option(names = "--depths", split = ",", description = "only these queue depths: 1,8,64")
  private List<Integer> depths = List.of();

  @Spec private @Nullable CommandSpec spec;

  @Override
  public Integer call() throws IOException, InterruptedException {
    if (new ProcessBuilder("which", "fio").start().waitFor() != 0) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "fio was not found; install the package fio");
    }
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    PrintWriter rows = output == OutputFormat.json ? spec.commandLine().getErr() : out;
    Places places = standbyDirectory == null ? Places.of(directory, 2L * Math.max(megabytes, resyncMegabytes) * (1 << 20)) : new Places(directory, standbyDirectory);
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("images", shown(rows, List.of(places.report())).getFirst());
    try (MirrorFiles files = new MirrorFiles(places, megabytes)) {
      for (DiskCase test : DiskCase.WARM_UP) {
        new SpeedCase(test, files, links, WARM_UP_SECONDS, 1).warmUp();
      }
      List<Object> cases = new ArrayList<>();
      for (DiskCase test : DiskCase.ALL) {
        if (wants(test.pattern()) && (depths.isEmpty() || depths.contains(test.queueDepth()))) {
          cases.addAll(shown(rows, new SpeedCase(test, files, links, seconds, rounds).measure()));
        }
      }
      report.put("cases", cases);
      if (wants("flush")) {
        report.put("flush", shown(rows, new FlushCase(files, links, seconds, rounds).measure()));
      }
      ResyncCase resync = new ResyncCase(places, links, seconds, rounds);
      if (wants("resync")) {
        report.put("resync", shown(rows, resync.whole(resyncMegabytes)));
      }
      if (wants("outage")) {
        report.put("outage", shown(rows, resync.outage(outageMegabytes)));
      }
    }
    if (output == OutputFormat.json) {
      out.println(Json.write(report));
      out.flush();
    }
    return ExitCode.OK;
  }

  private boolean wants(String name) {
    return only.isEmpty() || only.contains(name);
  }

  /** Shows what a case measured as soon as it has. */
  private static List<Map<String, Object>> shown(PrintWriter to, List<Map<String, Object>> measured) {
    for (Map<String, Object> row : measured) {
      StringBuilder line = new StringBuilder();
      row.forEach((name, value) -> line.append(line.isEmpty() ? "" : "  ").append(name).append(' ').append(value));
      to.println(line);
    }
    to.flush();
    return measured;
  }
}
