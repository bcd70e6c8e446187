package dev.dyad.engine.net;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.FileArbiter;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReleaseGateTest {
  private static final long HOUR = 3_600_000_000_000L;

  @TempDir Path folder = Path.of("");

  private final AtomicLong newest = new AtomicLong(1);
  private final ReleaseGate gate = new ReleaseGate(newest::get, 1);

  @Test
  void shouldBeShutUntilThereIsALease() {
    assertFalse(gate.mayRelease());
    gate.leaseUntil(Clocks.bootNs() + HOUR);
    assertTrue(gate.mayRelease());
    assertEquals(1, gate.refusals());
  }

  @Test
  void shouldShutWhenTheLeaseLapsesAndNeverShortenOne() {
    gate.leaseUntil(Clocks.bootNs() + 2_000_000);
    gate.leaseUntil(Clocks.bootNs() - HOUR);
    long end = System.nanoTime() + HOUR;
    while (gate.mayRelease()) {
      assertTrue(System.nanoTime() < end);
    }
    assertFalse(gate.mayRelease());
  }

  @Test
  void shouldShutAsSoonAsAnybodyHoldsANewerGeneration() {
    gate.leaseUntil(Clocks.bootNs() + HOUR);
    newest.set(2);
    assertFalse(gate.mayRelease());
    gate.goAlone(2);
    assertTrue(gate.mayRelease());
  }

  @Test
  void shouldNeedNoLeaseAloneAndOneAgainWhenProtected() {
    gate.goAlone(1);
    assertTrue(gate.mayRelease());
    gate.protectedAgain();
    assertFalse(gate.mayRelease());
  }

  @Test
  void shouldStayShutOnceFenced() {
    gate.fence();
    gate.leaseUntil(Clocks.bootNs() + HOUR);
    gate.goAlone(9);
    assertFalse(gate.mayRelease());
  }

  @Test
  void shouldReleaseNothingNewWhenAStoppedPrimaryWakesAfterItsSuccessorHasWon() throws Exception {
    Path file = folder.resolve("generation");
    List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path")));
    command.addAll(List.of(Releases.class.getName(), file.toString()));
    Process primary = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    try (BufferedReader output = primary.inputReader()) {
      for (int i = 0; i < 10_000; i++) {
        assertEquals("out", word(output.readLine(), 0));
      }
      signal(primary, "STOP");
      long wonAt;
      try (FileArbiter arbiter = FileArbiter.open(file)) {
        assertEquals(Arbiter.Verdict.GRANTED, arbiter.request(2, "standby"));
        wonAt = System.nanoTime(); // CLOCK_MONOTONIC: the same in both processes
      }
      signal(primary, "CONT");
      int late = 0;
      String line = output.readLine();
      while (word(line, 0).equals("out") && late <= 1) {
        late += Long.parseLong(word(line, 1)) - wonAt > 0 ? 1 : 0;
        line = output.readLine();
      }
      assertTrue(late <= 1, late + " releases after the other side had won; at most the one between check and call may be");
      assertEquals("shut", line);
    } finally {
      primary.destroyForcibly().waitFor();
    }
  }

  private static String word(@Nullable String line, int index) {
    return String.valueOf(line).split(" ")[index];
  }

  /** A primary in a process of its own: releases as fast as it can while its gate says that it may. */
  static final class Releases {
    private Releases() {}

    public static void main(String[] args) throws Exception {
      try (FileArbiter arbiter = FileArbiter.open(Path.of(args[0]));
          FileOutputStream out = new FileOutputStream(FileDescriptor.out)) {
        arbiter.request(1, "primary");
        ReleaseGate gate = new ReleaseGate(arbiter::newest, 1);
        gate.leaseUntil(Clocks.bootNs() + HOUR); // as if the lease did not end: the generation alone must do
        while (gate.mayRelease()) {
          out.write(("out " + System.nanoTime() + "\n").getBytes(StandardCharsets.US_ASCII));
        }
        out.write("shut\n".getBytes(StandardCharsets.US_ASCII));
      }
    }
  }

  private static void signal(Process process, String signal) throws Exception {
    assertEquals(0, new ProcessBuilder("kill", "-" + signal, Long.toString(process.pid())).start().waitFor());
  }
}
