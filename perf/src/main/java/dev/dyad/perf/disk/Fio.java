package dev.dyad.perf.disk;

import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Runs fio(1) and reads what it measured. */
final class Fio {
  private Fio() {}

  /** As the duration of a run: until each file has been gone through once. */
  static final double ONCE = 0;

  /** What each file's job reached, all jobs at once. */
  static List<Speed> run(DiskCase test, double seconds, long bytes, Path... files) throws IOException, InterruptedException {
    List<Speed> result = new ArrayList<>();
    for (Json job : jobs(test, seconds, bytes, files)) {
      Json side = job.get(test.write() ? "write" : "read");
      result.add(new Speed(decimal(side.get("iops")), micros(side.get("lat_ns"), "50"), micros(side.get("lat_ns"), "99"), decimal(side.get("lat_ns").get("max")) / 1e3));
    }
    return result;
  }

  /** Of each file's job, half of whose flushes took no longer than that; all jobs at once. */
  static List<Double> flushMicros(DiskCase test, double seconds, long bytes, Path... files) throws IOException, InterruptedException {
    return jobs(test, seconds, bytes, files).stream().map(job -> micros(job.get("sync").get("lat_ns"), "50")).toList();
  }

  private static List<Json> jobs(DiskCase test, double seconds, long bytes, Path... files) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("fio", "--output-format=json"));
    for (Path file : files) {
      command.addAll(
          List.of(
              "--name=" + file.getFileName(),
              "--filename=" + file,
              "--ioengine=io_uring",
              "--direct=1",
              // As our ring has it; its flags are the same as fio's: COOP_TASKRUN, SINGLE_ISSUER, DEFER_TASKRUN. Neither registers buffers.
              "--registerfiles=1",
              "--rw=" + (test.random() ? "rand" : "") + (test.write() ? "write" : "read"),
              "--bs=" + test.blockBytes(),
              "--iodepth=" + test.queueDepth(),
              "--size=" + bytes,
              "--lat_percentiles=1",
              "--clat_percentiles=0",
              "--randrepeat=0",
              "--norandommap"));
      if (seconds != ONCE) {
        command.addAll(
            List.of(
                "--time_based",
                // fio starts its clocks when its job does, we after a warm-up.
                String.format(Locale.ROOT, "--ramp_time=%dms", Math.round(seconds * 1000 * DiskLoad.WARM_UP)),
                String.format(Locale.ROOT, "--runtime=%dms", Math.round(seconds * 1000))));
      }
      if (test.flushEvery() > 0) {
        command.add("--fdatasync=" + test.flushEvery());
      }
    }
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (process.waitFor() != 0) {
      throw new IOException("fio failed: " + output.strip());
    }
    // A warning may stand before the object.
    List<Json> jobs = Json.parse(output.substring(Math.max(0, output.indexOf("\n{") + 1))).get("jobs").elements();
    if (jobs.size() != files.length) {
      throw new IOException("fio's output is not understood: " + output.strip());
    }
    return jobs;
  }

  private static double micros(Json latency, String percentile) {
    return decimal(latency.get("percentile").get(percentile + ".000000")) / 1e3;
  }

  private static double decimal(Json number) {
    return number.isAbsent() ? Double.NaN : Double.parseDouble(number.toString());
  }
}
