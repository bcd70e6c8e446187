package dev.dyad.perf.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.json.Json;
import dev.dyad.perf.PerfCommand;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** {@code dyad perf kvm} in small: what it reports and writes. It compares the standby's memory with the guest's itself. */
class KvmPerfTest {
  @Test
  void shouldReportBothSidesOfEveryCaseAndDrawThem(@TempDir Path directory) throws Exception {
    String unusable = Kvm.unusable();
    assumeTrue(unusable.isEmpty(), unusable);
    assumeTrue(hasCompiler(), "no C compiler (cc): the baseline cannot be built");
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    CommandLine commandLine = new CommandLine(new PerfCommand()).setOut(new PrintWriter(out)).setErr(new PrintWriter(err));
    int code = commandLine.execute("kvm", "--short", "--epochs", "60", "--rounds", "1", "--pages", "10,300", "--memory-mib", "64,128", "--vcpus", "1,2", "--plot", directory.toString(),
        "-o", "json");
    assertEquals(0, code, err.toString());
    Json report = Json.parse(out.toString());
    List<Json> cases = report.get("cases").elements();
    assertEquals(4, cases.size(), out.toString());
    for (Json one : cases) {
      for (String side : List.of("ours", "c")) {
        assertEquals(60, one.get(side).get("epochs").number(0));
        assertTrue(Double.parseDouble(one.get(side).get("pauseMicros").get("p99").toString()) > 0);
        assertTrue(Double.parseDouble(one.get(side).get("commitMicros").get("p50").toString()) > 0);
        assertTrue(Double.parseDouble(one.get(side).get("epochsPerSecond").toString()) > 0);
      }
    }
    for (String plot : List.of("pause-over-pages.svg", "pause-over-memory.svg")) {
      assertTrue(Files.readString(directory.resolve(plot)).contains("C p99"), plot);
    }
  }

  private static boolean hasCompiler() throws InterruptedException {
    try {
      return new ProcessBuilder("cc", "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor() == 0;
    } catch (java.io.IOException e) {
      return false;
    }
  }
}
