package dev.dyad.nic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.cli.ExitCode;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class NicCommandTest {
  @TempDir Path folder = Path.of("");

  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  private int dyad(String... args) {
    out.getBuffer().setLength(0);
    CommandLine line = Dyad.commandLine();
    line.setOut(new PrintWriter(out)).setErr(new PrintWriter(err, true));
    return line.execute(args);
  }

  @Test
  void shouldShowInAPlanEachCommandAndItsUndoAndRunNone() {
    assertEquals(ExitCode.OK, dyad("nic", "plan", "--netns", "dynone", "--taps", "1", "--address", "10.77.0.1/24", "--state", state()));
    String text = out.toString();
    assertTrue(text.contains("to do  ip netns add dynone") && text.contains("undo: ip netns del dynone"), text);
    assertTrue(text.contains("ip -n dynone tuntap add dev dyad0-t0 mode tap"), text);
  }

  private String state() {
    return folder.resolve("state").toString();
  }

  @Test
  void shouldApplyAndRevertWithoutRootAndTellBothAsJson() {
    String reason = NetworkLab.unavailable();
    assumeTrue(reason.isEmpty(), reason);
    assertEquals(ExitCode.OK, dyad("nic", "apply", "--userns", "-o", "json", "--state", state()), err.toString());
    assertTrue(out.toString().matches("(?s)\\{\"state\":.*\"prefix\":\\[\"nsenter\".*\"outcome\":\"applied\".*]}\\s*"), out.toString());
    assertEquals(ExitCode.OK, dyad("nic", "apply", "--userns", "--state", state()));
    assertTrue(out.toString().contains("kept     tap dyad0-t1"), out.toString());
    assertEquals(ExitCode.OK, dyad("nic", "revert", "-o", "json", "--state", state()));
    assertTrue(out.toString().contains("\"outcome\":\"undone\""), out.toString());
    assertEquals(ExitCode.OK, dyad("nic", "revert", "--state", state()));
    assertTrue(out.toString().startsWith("nothing to undo"), out.toString());
  }

  @Test
  void shouldRefuseABadNameWithOneLineAndTheExitCodeForUsage() {
    assertEquals(ExitCode.USAGE, dyad("nic", "plan", "--bridge", "much-too-long-name"));
    assertEquals(1, err.toString().lines().count());
    assertTrue(err.toString().contains("--bridge 'much-too-long-name'"), err.toString());
  }

  @Test
  void shouldSayBeforehandWhatNeedsRootAndHowToDoWithout() {
    assumeTrue(!NetworkLab.isRoot(), "runs as root, which needs no such advice");
    assertEquals(ExitCode.PERMISSION, dyad("nic", "apply", "--state", state()));
    assertTrue(err.toString().contains("--userns"), err.toString());
  }
}
