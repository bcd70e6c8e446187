package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.node.NodeSnapshot;
import dev.dyad.nic.NetworkLab;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A microVM on a TAP of a bridge: the kernel's own ARP and ping reach it, and reach it again at the other host's TAP after its host was killed. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class MicroVmOnTapTest {
  private static final String GUEST = "10.77.0.2";
  private static final String LISTEN = "127.0.0.1:7400"; // of the namespace
  private static final int SECONDS_MAX = 40;

  @TempDir Path directory;

  private final List<Process> processes = new ArrayList<>();

  @AfterEach
  void end() throws InterruptedException {
    for (Process process : processes) {
      process.destroyForcibly().waitFor();
    }
  }

  @Test
  void shouldAnswerPingAtTheOtherHostsTapAfterItsHostWasKilled() throws IOException, InterruptedException {
    assumeTrue(Kvm.unusable().isEmpty(), Kvm.unusable());
    assumeTrue(NetworkLab.unavailable().isEmpty(), NetworkLab.unavailable());
    assumeTrue(hasBusybox(), "busybox, whose ping is used, is not installed: apt-get install busybox-static");
    try (NetworkLab lab = NetworkLab.open(2, "10.77.0.1/24")) {
      start(lab, "standby", "standby", "--listen", LISTEN, "--bound", "2s", "--tap", "net0=" + lab.tap(1));
      Process primary = start(lab, "protect", "protect", "--to", LISTEN, "--bound", "2s", "--tap", lab.tap(0), "--name", "tap");
      await("protected", () -> isProtected(primary));
      assertTrue(ping(lab), logs());
      assertTrue(lab.require("ip", "neigh").contains("02:64:79:61:64:01"), "the guest answers ARP");

      primary.destroyForcibly().waitFor();

      await("the guest goes on", () -> ping(lab));
    }
  }

  private static boolean hasBusybox() {
    return Files.isExecutable(Path.of("/bin/busybox")) || Files.isExecutable(Path.of("/usr/bin/busybox"));
  }

  private static boolean ping(NetworkLab lab) {
    try {
      Process ping = new ProcessBuilder(lab.command("busybox", "ping", "-c", "2", "-W", "2", GUEST)).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
      return ping.waitFor(10, TimeUnit.SECONDS) && ping.exitValue() == 0;
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  private Process start(NetworkLab lab, String log, String... words) throws IOException {
    List<String> line = new ArrayList<>(lab.prefix());
    line.addAll(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
    line.addAll(List.of("-cp", System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")), "dev.dyad.engine.cli.Dyad"));
    line.addAll(List.of(words));
    ProcessBuilder builder = new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(directory.resolve(log + ".log").toFile());
    builder.environment().put("DYAD_RUNTIME_DIR", directory.resolve("run").toString());
    Process process = builder.start();
    processes.add(process);
    return process;
  }

  private boolean isProtected(Process primary) {
    try {
      return NodeSnapshot.ask(directory.resolve("run").resolve("primary-" + primary.pid() + ".status")).isProtected();
    } catch (IOException e) {
      return false; // it does not answer yet
    }
  }

  private void await(String what, BooleanSupplier condition) throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS_MAX);
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > end) {
        throw new AssertionError("not within " + SECONDS_MAX + " s: " + what + "\n" + logs());
      }
      Thread.sleep(50);
    }
  }

  private String logs() {
    StringBuilder all = new StringBuilder();
    for (String name : List.of("protect.log", "standby.log")) {
      try {
        all.append("--- ").append(name).append('\n').append(Files.readString(directory.resolve(name)));
      } catch (IOException e) {
        all.append(e.getMessage());
      }
    }
    return all.toString();
  }
}
