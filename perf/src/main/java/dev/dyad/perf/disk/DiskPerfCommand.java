package dev.dyad.perf.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.UringDisk;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/**
 * {@code dyad perf disk}: fio with io_uring and this engine on the same files in turn; then two fio jobs at once and the mirror from one file
 * to the other.
 */
@Command(
    name = "disk",
    mixinStandardHelpOptions = true,
    description = "Measure the disk beside fio: local, and mirrored to a second file through a link.")
public final class DiskPerfCommand implements Callable<Integer> {
  private static final int[] DEPTHS = {1, 8, 64};

  @Option(names = {"-o", "--output"}, paramLabel = "FORMAT", description = "text (default) or json")
  private OutputFormat output = OutputFormat.text;

  @Option(names = "--directory", paramLabel = "DIR", description = "where the two files are made (default: the temporary directory)")
  private Path directory = Path.of(System.getProperty("java.io.tmpdir"));

  @Option(names = "--seconds", description = "time of each measurement (default: ${DEFAULT-VALUE})")
  private double seconds = 2;

  @Option(names = "--megabytes", description = "size of each file (default: ${DEFAULT-VALUE})")
  private int megabytes = 512;

  @Option(names = "--links", split = ",", description = "links of the mirror: shm, tcp (default: both)")
  private List<String> links = List.of("shm", "tcp");

  @Option(names = "--cases", split = ",", description = "only these patterns, such as randwrite,randread,write,read,randwrite+flush")
  private List<String> only = List.of();

  @Spec private @Nullable CommandSpec spec;

  private record Row(DiskCase test, String link, double fio, double local, double fioPair, double mirrored, double bytesPerIo) {
    String json() {
      return String.format(
          Locale.ROOT,
          "{\"pattern\":\"%s\",\"blockSize\":%d,\"queueDepth\":%d,\"link\":\"%s\",\"fioIops\":%.0f,\"localIops\":%.0f,\"fioPairIops\":%.0f,"
              + "\"mirroredIops\":%.0f,\"localRatio\":%.3f,\"mirroredRatio\":%.3f,\"allocatedBytesPerIo\":%.3f}",
          test.pattern(), test.blockBytes(), test.queueDepth(), link, fio, local, fioPair, mirrored, local / fio, mirrored / fioPair, bytesPerIo);
    }

    String text() {
      return String.format(
          Locale.ROOT, "%-16s %6d  qd %2d  %-4s fio %8.0f  local %8.0f (%.2f)   two fio %8.0f  mirrored %8.0f (%.2f)   %.2f B/IO",
          test.pattern(), test.blockBytes(), test.queueDepth(), link, fio, local, local / fio, fioPair, mirrored, mirrored / fioPair, bytesPerIo);
    }
  }

  @Override
  public Integer call() throws IOException, InterruptedException {
    if (new ProcessBuilder("which", "fio").start().waitFor() != 0) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "fio was not found; install the package fio");
    }
    PrintWriter out = Objects.requireNonNull(spec).commandLine().getOut();
    List<Row> rows = new ArrayList<>();
    Path folder = Files.createTempDirectory(directory, "dyad-disk");
    try {
      for (DiskCase test : cases()) {
        for (Row row : measure(test, folder)) {
          rows.add(row);
          if (output == OutputFormat.text) {
            out.println(row.text());
            out.flush();
          }
        }
      }
    } finally {
      clear(folder);
      Files.deleteIfExists(folder);
    }
    if (output == OutputFormat.json) {
      out.println("{\"cases\":[" + rows.stream().map(Row::json).collect(Collectors.joining(",")) + "]}");
      out.flush();
    }
    return ExitCode.OK;
  }

  private List<DiskCase> cases() {
    List<DiskCase> all = new ArrayList<>();
    for (int depth : DEPTHS) {
      all.add(new DiskCase(true, true, 4096, depth, 0));
      all.add(new DiskCase(true, false, 4096, depth, 0));
      all.add(new DiskCase(false, true, 65536, depth, 0));
      all.add(new DiskCase(false, false, 65536, depth, 0));
      all.add(new DiskCase(true, true, 4096, depth, depth));
    }
    return all.stream().filter(test -> only.isEmpty() || only.contains(test.pattern())).toList();
  }

  private List<Row> measure(DiskCase test, Path folder) throws IOException, InterruptedException {
    long bytes = (long) megabytes << 20;
    Path one = folder.resolve("one");
    Path two = folder.resolve("two");
    clear(folder);
    // Written once, so that nobody is measured while the file system allocates.
    byte[] chunk = new byte[1 << 20];
    for (Path file : new Path[] {one, two}) {
      try (var stream = Files.newOutputStream(file)) {
        for (int i = 0; i < megabytes; i++) {
          stream.write(chunk);
        }
      }
      new ProcessBuilder("sync", file.toString()).start().waitFor();
    }
    double fio = Fio.iops(test, seconds, bytes, one).getFirst();
    double local;
    try (UringDisk disk = UringDisk.open(one.toString(), 128);
        DiskLoad load = new DiskLoad(disk, test, bytes, buffers(test))) {
      local = load.run(seconds, now -> {});
    }
    double fioPair = Fio.iops(test, seconds, bytes, one, two).stream().mapToDouble(Double::doubleValue).min().orElseThrow();
    List<Row> rows = new ArrayList<>();
    for (String link : links) {
      for (Path file : new Path[] {one, two}) {
        Files.deleteIfExists(DiskFiles.metadata(file));
      }
      try (MirrorPair pair = new MirrorPair(one, two, link);
          DiskLoad load = new DiskLoad(pair.disk(), test, bytes, buffers(test))) {
        double mirrored = load.run(seconds, pair::turn);
        rows.add(new Row(test, link, fio, local, fioPair, mirrored, load.allocatedBytes() / (mirrored * seconds)));
      }
    }
    return rows;
  }

  private static Mapping buffers(DiskCase test) {
    return Mapping.anonymous((long) test.queueDepth() * test.blockBytes());
  }

  private static void clear(Path folder) throws IOException {
    for (String name : new String[] {"one", "two", "one.dyad", "two.dyad", "two.log"}) {
      Files.deleteIfExists(folder.resolve(name));
    }
  }
}
