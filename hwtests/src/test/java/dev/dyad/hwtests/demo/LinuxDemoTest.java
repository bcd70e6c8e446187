package dev.dyad.hwtests.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.json.Json;
import dev.dyad.hwtests.Needs;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import picocli.CommandLine;

/** {@code dyad demo --guest linux}, as a program would call it. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class LinuxDemoTest {
  @BeforeEach
  void needsLinuxGuestAndNetwork() {
    Needs.linuxGuestAndNetwork();
  }

  @Test
  void shouldEndWithOneObjectThatSaysWhatTheClientSaw() {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    CommandLine demo = new CommandLine(new DemoCommand()).setOut(new PrintWriter(out)).setErr(new PrintWriter(err));

    // A detector that takes no pause of a machine shared with other work for a death. Without KVM this guest is what is shown unasked.
    String noKvm = Kvm.unusable();
    List<String> guest = noKvm.isEmpty() ? List.of("--guest", "linux") : List.of();
    int code = demo.execute(Stream.concat(guest.stream(), Stream.of("--bound", "1s", "-o", "json")).toArray(String[]::new));

    assertEquals(0, code, err.toString());
    assertTrue(noKvm.isEmpty() || err.toString().startsWith("dyad: " + noKvm + "; without KVM this is dyad demo --guest linux\n"), err.toString());
    Json summary = Json.parse(out.toString());
    assertEquals("linux", summary.get("guest").text());
    assertEquals(0, summary.get("lostWrites").number(-1), out.toString());
    assertEquals(0, summary.get("resetConnections").number(-1), out.toString());
    assertTrue(summary.get("epochs").number(0) > 20 && summary.get("ackedWrites").number(0) > 100, out.toString());
    for (String figure : List.of("p50", "p95", "p99", "max")) {
      assertTrue(Double.parseDouble(summary.get("pauseMicros").get(figure).toString()) > 0, out.toString());
    }
    assertTrue(Double.parseDouble(summary.get("failoverMillis").toString()) > 0, out.toString());
  }
}
