package dev.dyad.perf.disk;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Runs fio(1) and reads its terse output. */
final class Fio {
  private static final int READ_IOPS = 7;
  private static final int WRITE_IOPS = 48;

  private Fio() {}

  /** I/Os per second of each file, all jobs at once. */
  static List<Double> iops(DiskCase test, double seconds, long bytes, Path... files) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("fio", "--output-format=terse", "--terse-version=3"));
    for (Path file : files) {
      command.addAll(
          List.of(
              "--name=" + file.getFileName(),
              "--filename=" + file,
              "--ioengine=io_uring",
              "--direct=1",
              "--rw=" + (test.random() ? "rand" : "") + (test.write() ? "write" : "read"),
              "--bs=" + test.blockBytes(),
              "--iodepth=" + test.queueDepth(),
              "--size=" + bytes,
              "--time_based",
              "--runtime=" + Math.max(1, Math.round(seconds)),
              "--randrepeat=0",
              "--norandommap"));
      if (test.flushEvery() > 0) {
        command.add("--fdatasync=" + test.flushEvery());
      }
    }
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (process.waitFor() != 0) {
      throw new IOException("fio failed: " + output.strip());
    }
    List<Double> result = new ArrayList<>();
    for (String line : output.split("\n")) {
      String[] fields = line.split(";");
      if (fields.length > WRITE_IOPS && fields[0].equals("3")) {
        result.add(Double.parseDouble(fields[test.write() ? WRITE_IOPS : READ_IOPS]));
      }
    }
    if (result.size() != files.length) {
      throw new IOException("fio's output is not understood: " + output.strip());
    }
    return result;
  }
}
