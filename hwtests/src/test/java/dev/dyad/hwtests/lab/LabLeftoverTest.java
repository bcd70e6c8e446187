package dev.dyad.hwtests.lab;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.guest.CacheFolder;
import dev.dyad.engine.guest.GuestUnavailableException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code dyad lab up} is killed while it boots: its hosts do not stay behind. Each test has a cache folder, and so a lab, of its own. */
final class LabLeftoverTest {
  private static final int BOUND_SECONDS = 90;

  @TempDir Path home = Path.of("");

  private final List<Process> started = new ArrayList<>();

  /** All that a lab needs is there already, but for the folder of one that is up. */
  @BeforeEach
  void shareTheCache() throws IOException {
    try {
      new LabConfig(2, 512, 1).requireTools();
      LabImage.obtain();
    } catch (GuestUnavailableException e) {
      if ("require".equals(System.getProperty("dyad.lab"))) {
        fail("the lab is required here: " + e.getMessage());
      }
      Assumptions.abort(String.valueOf(e.getMessage()));
    }
    Files.createDirectories(up().resolveSibling("."));
    link(CacheFolder.path(), "lab");
    link(CacheFolder.path().resolve("lab"), "up");
  }

  private void link(Path folder, String butFor) throws IOException {
    try (var files = Files.list(folder)) {
      for (var file : files.filter(file -> !file.getFileName().toString().startsWith(butFor)).toList()) {
        Files.createSymbolicLink(home.resolve("dyad").resolve(CacheFolder.path().relativize(file).toString()), file);
      }
    }
  }

  @AfterEach
  void endAll() throws IOException {
    started.forEach(Process::destroyForcibly);
    LabProcesses.end(up());
    CacheFolder.deleteTree(home.resolve("dyad"));
  }

  private Path up() {
    return home.resolve(Path.of("dyad", "lab", "up"));
  }

  @Test
  void shouldFindWhatAKilledOneLeftAndEndItself() throws IOException, InterruptedException {
    var killed = dyad("up", "--memory", "512");
    var left = awaitBooting(killed, 2, List.of());
    killed.destroyForcibly().waitFor();
    assertEquals(left, LabProcesses.in(up()), "nobody ends them yet");

    var second = dyad("up", "--memory", "512");
    assertTrue(Collections.disjoint(left, awaitBooting(second, 1, left)), () -> "the next 'up' leaves some of " + left);
    var refused = dyad("down");
    assertEquals(69, end(refused));
    assertTrue(errors(refused).startsWith("dyad: process " + second.pid() + " is booting "), errors(refused));
    second.destroy();
    end(second);
    assertEquals(List.of(), LabProcesses.in(up()), "ended by a signal");
    assertFalse(Files.exists(up()));

    var third = dyad("up", "--memory", "512");
    awaitBooting(third, 1, List.of());
    third.destroyForcibly().waitFor();
    assertEquals(0, end(dyad("down")));
    assertEquals(List.of(), LabProcesses.in(up()), "after 'down'");
    assertFalse(Files.exists(up()));
  }

  /** Nobody comes any more: they find out by themselves that they are alone. */
  @Test
  @Tag("lab-full")
  void shouldEndByThemselvesWhenNobodyComesAnyMore() throws IOException, InterruptedException {
    var killed = dyad("up", "--memory", "512");
    awaitBooting(killed, 2, List.of());
    killed.destroyForcibly().waitFor();
    long deadline = System.nanoTime() + BOUND_SECONDS * 1_000_000_000L;
    while (!LabProcesses.in(up()).isEmpty()) {
      assertTrue(System.nanoTime() - deadline < 0, "they run on");
      LabHost.pause(100);
    }
  }

  /** Waits until so many hosts are on their way up that were not there before. */
  private List<ProcessHandle> awaitBooting(Process command, int hosts, List<ProcessHandle> before) throws IOException {
    long deadline = System.nanoTime() + BOUND_SECONDS * 1_000_000_000L;
    while (true) {
      var booting = LabProcesses.in(up());
      if (booting.stream().filter(host -> !before.contains(host)).count() >= hosts) {
        return booting;
      }
      if (!command.isAlive() || System.nanoTime() - deadline > 0) {
        fail("no hosts: " + errors(command));
      }
      LabHost.pause(5);
    }
  }

  private Process dyad(String... words) throws IOException {
    var builder = new ProcessBuilder("/bin/sh", "-c", JavaCommand.of(Dyad.class, List.of("-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir=" + home), arguments(words)));
    builder.environment().put("XDG_CACHE_HOME", home.toString());
    var process = builder.redirectError(home.resolve("errors" + started.size()).toFile()).start();
    started.add(process);
    return process;
  }

  private String errors(Process process) throws IOException {
    return Files.readString(home.resolve("errors" + started.indexOf(process)));
  }

  private static List<String> arguments(String... words) {
    var all = new ArrayList<>(List.of("lab"));
    all.addAll(List.of(words));
    return all;
  }

  private static int end(Process process) throws InterruptedException {
    if (!process.waitFor(BOUND_SECONDS, TimeUnit.SECONDS)) {
      throw new AssertionError("no end");
    }
    return process.exitValue();
  }
}
