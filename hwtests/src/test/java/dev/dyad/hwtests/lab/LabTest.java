package dev.dyad.hwtests.lab;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(LabExtension.class)
final class LabTest {
  private static final Duration BOUND = Duration.ofSeconds(60);

  @Test
  void shouldRunCommandsAndClassesOfThisMachineInBothHosts(Lab lab) throws IOException {
    for (var host : lab.hosts()) {
      assertEquals("lab" + host.number() + "\n", host.run("cat /proc/sys/kernel/hostname"));
      assertTrue(host.run("cat /sys/class/infiniband/rxe0/ports/1/state").contains("ACTIVE"));
    }
    var job = lab.host(2).java(Greeting.class, List.of("-Xint"), List.of("two words", "it's"));
    assertEquals("two words|it's\n", job.succeed(BOUND));
    assertEquals(3, lab.host(1).start("exit 3").await(BOUND));
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    assertEquals(4, lab.host(1).start("echo one; echo of >&2; sleep 1; echo two; exit 4").follow(out, err, BOUND));
    assertEquals("one\ntwo\n", out.toString(StandardCharsets.UTF_8));
    assertEquals("of\n", err.toString(StandardCharsets.UTF_8));
  }

  @Test
  void shouldCarryPacketsOnlyWhileTheLinkIsUpAndUndisturbed(Lab lab) throws IOException {
    var ping = "ping -c 1 -W 2 " + lab.host(2).address();
    var first = lab.host(1);
    assertEquals(0, first.start(pingWithin(lab, 20)).await(BOUND), "before");
    lab.cutLink();
    assertTrue(first.start(pingWithin(lab, 1)).await(BOUND) != 0, "cut: " + ping);
    lab.healLink();
    assertEquals(0, first.start(pingWithin(lab, 20)).await(BOUND), "healed");
    first.netem("loss 100%");
    assertTrue(first.start(pingWithin(lab, 1)).await(BOUND) != 0, "all packets lost");
    first.clearNetem();
    assertEquals(0, first.start(pingWithin(lab, 20)).await(BOUND), "after");
  }

  /** bash's own TCP: no further program is needed. A refused connection is an answer, too. */
  private static String pingWithin(Lab lab, int seconds) {
    return "timeout " + seconds + " bash -c 'for i in $(seq " + seconds * 2 + "); do (: < /dev/tcp/" + lab.host(2).address()
        + "/9) 2>&1 | grep -q refused && exit 0; sleep 0.1; done; exit 1'";
  }

  @Test
  void shouldEndCommandsAndSurviveAFrozenAndADeadHost(Lab lab) throws IOException {
    var second = lab.host(2);
    var job = second.start("sleep 1000");
    job.signal("KILL");
    assertEquals(137, job.await(BOUND));
    second.freeze();
    var waiting = second.start("echo on");
    assertThrows(IOException.class, () -> waiting.await(Duration.ofMillis(300)));
    second.thaw();
    assertEquals("on\n", waiting.succeed(BOUND));
    second.jumpClock(Duration.ofHours(2));
    long drift = Long.parseLong(second.run("date +%s").strip()) - System.currentTimeMillis() / 1000;
    assertTrue(drift > 7000 && drift < 7400, "clock moved by " + drift + " s");
    var lost = second.start("sleep 1000");
    long start = System.nanoTime();
    second.start("echo c > /proc/sysrq-trigger");
    for (var vain : List.of(lab.host(1).start("sleep 1000"), lost)) {
      var seen = assertThrows(IOException.class, () -> vain.awaitOutput("never", BOUND));
      assertTrue(String.valueOf(seen.getMessage()).matches("the kernel of lab host 2 panicked: Kernel panic - not syncing: sysrq triggered crash.*"), seen::toString);
      assertThrows(IOException.class, () -> vain.await(BOUND));
    }
    assertTrue(System.nanoTime() - start < BOUND.toNanos() / 2, "a kernel's death is seen only when a test gives up");
    lab.restore();
    assertEquals("", lab.kernelDeath());
    assertEquals("again\n", lab.host(2).run("echo again"));
    Files.writeString(lab.shared().resolve("note"), "to both");
    assertEquals("to both", lab.host(1).run("cat /run/shared/note"));
    assertEquals("to both", lab.host(2).run("cat /run/shared/note"));
  }

  @Test
  void shouldTellAKernelsDeathFromItsOtherWords() {
    assertEquals("BUG: kernel NULL pointer dereference, address: 0000000000000008 in net_rx_action+0x1a5/0x2f0",
        LabConsoles.death(List.of("[    1.000000] tsc: Marking TSC unstable", "[  104.117031] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "[  104.117031] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI", "[  104.117031] RIP: 0010:net_rx_action+0x1a5/0x2f0")));
    assertEquals("Kernel panic - not syncing: sysrq triggered crash", LabConsoles.death(List.of("[ 3.5] Kernel panic - not syncing: sysrq triggered crash")));
    assertNull(LabConsoles.death(List.of("[   60.0] watchdog: BUG: soft lockup - CPU#0 stuck for 23s!", "RIP: 0010:mwait_idle+0x9/0x20")));
  }

  /** Runs inside a host. */
  static final class Greeting {
    private Greeting() {}

    public static void main(String[] args) {
      System.out.println(String.join("|", args));
    }
  }
}
