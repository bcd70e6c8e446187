package dev.dyad.perf.qemu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.json.Json;
import dev.dyad.nic.NetworkLab;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The whole of {@code dyad perf qemu} in its quick form: whether its figures are there and possible, not what they are. */
class QemuPerfTest {
  @TempDir Path directory;

  @BeforeAll
  static void needsWhatItMeasures() {
    for (String tool : List.of("qemu-system-x86_64", "redis-benchmark", "cc")) {
      assumeTrue(onPath(tool), tool + " is not installed");
    }
    String noNetwork = NetworkLab.unavailable();
    assumeTrue(noNetwork.isEmpty(), noNetwork);
    try {
      LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      assumeTrue(false, e.getMessage());
    }
  }

  private static boolean onPath(String tool) {
    return Stream.of((System.getenv("PATH") + ":/usr/bin:/bin").split(":")).anyMatch(folder -> Files.isExecutable(Path.of(folder, tool)));
  }

  @Test
  void shouldMeasureOursAndCOnTheSameGuestAndPlotThem() throws Exception {
    CommandLine dyad = Dyad.commandLine();
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    dyad.setOut(new PrintWriter(out));
    dyad.setErr(new PrintWriter(err));

    int code = dyad.execute("perf", "qemu", "--quick", "--memory", "256", "--clients", "16", "--parts", "compare,latency,sweep", "--plot", directory.toString(), "-o", "json");

    assertEquals(0, code, err.toString());
    Json report = Json.parse(out.toString().strip());
    for (String who : List.of("ours", "bare", "c")) {
      shouldBePossible(who, report.get(who));
    }
    assertTrue(number(report.get("unprotected"), "setsPerSecond") > 0);
    for (String ratio : List.of("pauseP50", "pauseP99", "throughput")) {
      assertTrue(number(report.get("ratios"), ratio) > 0, ratio);
    }
    double expected = number(report.get("ours").get("pauseMicros"), "p50") / number(report.get("c").get("pauseMicros"), "p50");
    assertEquals(expected, number(report.get("ratios"), "pauseP50"), 0.01 * expected);
    Json latency = report.get("latency");
    assertTrue(number(latency.get("protectedMicros"), "p50") > number(latency.get("unprotectedMicros"), "p50"), "held output costs time: " + latency);
    assertEquals(1, report.get("sweep").elements().size());
    shouldBePossible("sweep", report.get("sweep").elements().getFirst().get("ours"));
    assertFalse(report.get("goals").get("pauseP50Below1ms").isAbsent());
    assertTrue(Files.readString(directory.resolve("pause.svg")).contains("ours p50"));
    assertTrue(Files.readString(directory.resolve("throughput.svg")).contains("unprotected"));
    assertTrue(ReportText.of(report).contains("one client, adaptive"));
  }

  private static void shouldBePossible(String who, Json run) {
    Json pause = run.get("pauseMicros");
    double p50 = number(pause, "p50");
    assertTrue(run.get("epochs").number(0) > 2, who + ": " + run);
    assertTrue(p50 > 50 && p50 <= number(pause, "p95") && number(pause, "p95") <= number(pause, "p99") && number(pause, "p99") <= number(pause, "max"), who + ": " + pause);
    assertTrue(number(run.get("dirtyPages"), "max") > 0, who + " saw no written page under load: " + run);
    double parts = 0;
    for (String part : List.of("stopMicros", "scanMicros", "copyMicros", "stateMicros", "resumeMicros")) {
      double least = number(run.get(part), "p50");
      assertTrue(least > 0, who + " has no " + part + ": " + run);
      parts += least;
    }
    assertTrue(parts <= number(run.get("cutMicros"), "max"), who + ": the parts' medians are more than the longest of all: " + run);
    assertTrue(p50 < number(run.get("cutMicros"), "p50"), who + ": a pause longer than what it is part of: " + run);
    assertTrue(number(run, "setsPerSecond") > 0, who + ": " + run);
  }

  private static double number(Json json, String name) {
    return Quantiles.number(json, name);
  }
}
