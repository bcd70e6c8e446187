package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.json.Json;
import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Debian's kernel and Redis in a stock QEMU, protected while it runs, and everything that can die killed, frozen or cut off. What a
 * client outside saw decides.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class LinuxFailoverTest {
  private static final Duration BOUND = Duration.ofSeconds(60);
  private static final Pattern TICK = Pattern.compile(LinuxGuest.TICK);
  /** The guest says its uptime once a second. */
  private static final double UPTIME_SLACK = 3;

  private static final int KILLS = Integer.getInteger("dyad.kills", 3);
  private static final int KILLS_SOAK = Integer.getInteger("dyad.kills", 100);

  @BeforeAll
  static void needsLinuxGuestAndNetwork() {
    Needs.linuxGuestAndNetwork();
  }

  @Test
  void shouldLoseNoAcknowledgedWriteAndNoConnectionHoweverOftenThePrimaryDies() throws Exception {
    killAndGoOn(KILLS);
  }

  @Test
  @Tag("soak")
  @Timeout(value = 2, unit = TimeUnit.HOURS)
  void shouldLoseNothingOverAHundredKills() throws Exception {
    killAndGoOn(KILLS_SOAK);
  }

  private static void killAndGoOn(int kills) throws Exception {
    Random random = new Random();
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      pair.startGuest();
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(100, BOUND), "the unprotected guest answers\n" + pair.logs());
      double uptime = uptime(pair.console());
      long lookedAt = System.nanoTime();
      for (int kill = 0; kill < kills; kill++) {
        pair.startStandby((kill + 1) % 3);
        pair.startAttach();
        pair.awaitProtected(BOUND);
        Thread.sleep(random.nextLong(100, 1500));

        long before = client.acked();
        long killedAt = pair.killPrimary();

        assertTrue(client.awaitAcked(before + 200, BOUND), "kill " + kill + ": the guest answers on\n" + client.problem() + "\n" + pair.logs());
        pair.becomePrimary();
        OutsideClient.Gap gap = client.gapAround(killedAt);
        double now = awaitUptime(pair.console());
        assertTrue(now >= uptime, "kill " + kill + ": uptime went back from " + uptime + " to " + now);
        double elapsed = (System.nanoTime() - lookedAt) / 1e9;
        assertTrue(now - uptime <= elapsed + UPTIME_SLACK, "kill " + kill + ": uptime went on by " + (now - uptime) + " s within " + elapsed + " s");
        uptime = now;
        lookedAt = System.nanoTime();
        if (gap != null) {
          System.out.printf("kill %d: next reply after %.0f ms%n", kill, (gap.toNanos() - killedAt) / 1e6);
        }
        assertCleanConsole(pair.console());
      }
      OutsideClient.Verdict verdict = client.finish(BOUND);
      assertFalse(verdict.reset(), "the connection lived on: " + client.problem());
      assertEquals(0, verdict.lost(), "lost of " + verdict.acked() + " acknowledged writes");
      assertTrue(verdict.acked() > 300, "acknowledged " + verdict.acked());
    }
  }

  @Test
  void shouldRunOnAtOnceWhenTheStandbyDiesAndBeProtectedAgainByANewOne() throws Exception {
    try (LinuxPair pair = protectedPair(LinuxPair.Options.patient())) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(50, BOUND), "the protected guest answers\n" + pair.logs());

      long before = client.acked();
      pair.killStandby();

      assertTrue(client.awaitAcked(before + 200, BOUND), "the guest runs on without a standby\n" + pair.logs());
      pair.startStandby(2);
      pair.awaitProtected(BOUND);
      before = client.acked();
      pair.killPrimary();
      assertTrue(client.awaitAcked(before + 100, BOUND), "the new standby goes on\n" + pair.logs());
      assertNothingLost(client);
      pair.becomePrimary();
      assertCleanConsole(pair.console());
    }
  }

  @Test
  void shouldKeepNoQemuWhenThePrimaryDiesWhileItIsBuiltAndProtectTheNextOne() throws Exception {
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      pair.startGuest();
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitStandby(BOUND, report -> report.get("why").text().contains("machine is being built"));
      pair.killAttachOnly();

      pair.awaitStandby(BOUND, report -> report.get("why").text().contains("gone before its machine was built"));
      long giveUpAt = System.nanoTime() + BOUND.toNanos();
      while (pair.standby().descendants().findAny().isPresent()) {
        assertTrue(System.nanoTime() < giveUpAt, "a QEMU that nobody needs stays\n" + pair.logs());
        Thread.sleep(50);
      }
      assertTrue(pair.standby().isAlive() && pair.qemu().isAlive(), pair.logs());

      pair.startAttach();
      pair.awaitProtected(BOUND);
    }
  }

  @Test
  void shouldReleaseNothingWhenAFrozenPrimaryWakesUp() throws Exception {
    try (LinuxPair pair = protectedPair(LinuxPair.Options.patient())) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(50, BOUND), "the protected guest answers\n" + pair.logs());
      ProcessHandle oldQemu = pair.qemu();

      long before = client.acked();
      pair.signal("STOP", pair.attach().toHandle(), oldQemu);
      assertTrue(client.awaitAcked(before + 100, BOUND), "the standby goes on\n" + pair.logs());
      long framesBefore = pair.framesOut(0);
      pair.signal("CONT", oldQemu, pair.attach().toHandle());

      assertTrue(pair.attach().waitFor(30, TimeUnit.SECONDS), "the old primary ends\n" + pair.logs());
      assertEquals(ExitCode.FENCED, pair.attach().exitValue(), pair.logs());
      Thread.sleep(1_000);
      assertEquals(framesBefore, pair.framesOut(0), "frames that left the old primary after it woke up");
      assertNothingLost(client);
      pair.becomePrimary();
      assertCleanConsole(pair.console());
    }
  }

  @Test
  void shouldGoOnAloneWhenTheStandbyFreezesAndNotRunTwiceWhenItWakesUp() throws Exception {
    try (LinuxPair pair = protectedPair(LinuxPair.Options.patient())) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(50, BOUND), "the protected guest answers\n" + pair.logs());

      long before = client.acked();
      int printed = GuestMachine.consoleLines(pair.console()).size();
      pair.signal("STOP", pair.standby().toHandle());
      assertTrue(client.awaitAcked(before + 200, BOUND), "the primary goes on alone\n" + pair.logs());
      pair.signal("CONT", pair.standby().toHandle());

      pair.awaitProtected(BOUND); // it gave up its old state and was brought level again
      assertTrue(pair.attach().isAlive(), pair.logs());
      assertNothingLost(client);
      assertCleanConsole(pair.console(), printed);
    }
  }

  @Test
  void shouldGoOnAtExactlyOneSideWhenTheLinkIsCut() throws Exception {
    try (LinuxPair pair = protectedPair(new LinuxPair.Options("10ms", "1s", 256, "relay", List.of()))) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(50, BOUND), "the protected guest answers\n" + pair.logs());

      long before = client.acked();
      int printed = GuestMachine.consoleLines(pair.console()).size();
      pair.signal("STOP", pair.relay().toHandle());
      assertTrue(client.awaitAcked(before + 200, BOUND), "one side goes on\n" + pair.logs());

      boolean primaryFenced = pair.attach().waitFor(10, TimeUnit.SECONDS);
      boolean standbyRuns = pair.status("standby", pair.standby()).filter(report -> !report.get("qemuPid").isAbsent()).isPresent();
      assertEquals(primaryFenced, standbyRuns, "exactly one side runs the guest\n" + pair.logs());
      if (primaryFenced) {
        assertEquals(ExitCode.FENCED, pair.attach().exitValue(), pair.logs());
        pair.becomePrimary();
        printed = 0;
      }
      assertNothingLost(client);
      assertCleanConsole(pair.console(), printed);
    }
  }

  @Test
  void shouldLetNothingLeaveAGuestWhoseProtectorAloneDied() throws Exception {
    try (LinuxPair pair = protectedPair(LinuxPair.Options.patient())) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(50, BOUND), "the protected guest answers\n" + pair.logs());

      long before = client.acked();
      pair.killAttachOnly();
      assertTrue(pair.attach().waitFor(10, TimeUnit.SECONDS), "killed");
      assertTrue(client.awaitAcked(before + 100, BOUND), "the standby goes on\n" + pair.logs());
      long framesBefore = pair.framesOut(0);
      Thread.sleep(1_000);
      assertEquals(framesBefore, pair.framesOut(0), "frames that left the orphan");
      assertTrue(pair.qemu().isAlive(), "the orphan lives");

      LinuxPair.Finished status = pair.dyadOnce("status");
      assertEquals(ExitCode.FINDING, status.exitCode(), status.output());
      assertTrue(status.output().contains("orphan"), status.output());
      Json orphan = Json.parse(pair.dyadOnce("status", "-o", "json").output()).get("orphans").elements().getFirst();
      assertEquals(pair.qemu().pid(), orphan.get("qemuPid").number(0));
      assertEquals(pair.attach().pid(), orphan.get("protectorPid").number(0));
      assertEquals(pair.guest().qmp().toString(), orphan.get("qmp").text());
      LinuxPair.Finished attach = pair.dyadOnce("attach", "--qmp", pair.guest().qmp().toString(), "--to", "127.0.0.1:7400", "--name", "linux");
      assertEquals(ExitCode.FENCED, attach.exitCode(), attach.output());
      assertTrue(attach.output().contains("generation"), attach.output());
      assertNothingLost(client);
      pair.becomePrimary();
      assertCleanConsole(pair.console());
    }
  }

  /** A NIC that hangs on a socket has its network through Dyad alone: before the kill, after it, and when the guest is protected again. */
  @ParameterizedTest
  @EnumSource(names = {"STREAM", "DGRAM"})
  void shouldGoOnWithAGuestWhoseNicHangsOnASocket(LinuxPair.Wire wire) throws Exception {
    try (LinuxPair pair = protectedPair(new LinuxPair.Options("10ms", "1s", 256, "tcp", List.of(), wire))) {
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(100, BOUND), "the protected guest answers\n" + pair.logs());

      for (int standbyTap = 2; standbyTap >= 0; standbyTap -= 2) {
        long before = client.acked();
        pair.killPrimary();
        assertTrue(client.awaitAcked(before + 200, BOUND), "the guest answers on\n" + client.problem() + "\n" + pair.logs());
        pair.becomePrimary();
        pair.startStandby(standbyTap);
        pair.startAttach();
        pair.awaitProtected(BOUND);
      }
      long before = client.acked();
      assertTrue(client.awaitAcked(before + 100, BOUND), "protected for the third time\n" + pair.logs());
      assertNothingLost(client);
    }
  }

  private static LinuxPair protectedPair(LinuxPair.Options options) {
    LinuxPair pair = new LinuxPair(options);
    try {
      if (options.link().equals("relay")) {
        pair.relay();
      }
      pair.startGuest();
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);
      return pair;
    } catch (RuntimeException e) {
      pair.close();
      throw e;
    }
  }

  private static void assertNothingLost(OutsideClient client) throws InterruptedException {
    OutsideClient.Verdict verdict = client.finish(BOUND);
    assertFalse(verdict.reset(), "the connection lived on: " + client.problem());
    assertEquals(0, verdict.lost(), "lost of " + verdict.acked() + " acknowledged writes");
  }

  private static double uptime(Path console) {
    return GuestMachine.consoleLines(console).reversed().stream()
        .map(TICK::matcher)
        .filter(Matcher::matches)
        .mapToDouble(line -> Double.parseDouble(line.group(2)))
        .findFirst()
        .orElse(0);
  }

  private static double awaitUptime(Path console) throws InterruptedException {
    long end = System.nanoTime() + BOUND.toNanos();
    while (uptime(console) == 0 && System.nanoTime() < end) {
      Thread.sleep(50);
    }
    return uptime(console);
  }

  /** After a take-over the console shows nothing but the guest's ticks: whatever the kernel logs would be seen here. */
  private static void assertCleanConsole(Path console) {
    assertCleanConsole(console, 0);
  }

  private static void assertCleanConsole(Path console, int linesBefore) {
    List<String> others = GuestMachine.consoleLines(console).stream().skip(linesBefore).filter(line -> !line.isBlank() && !TICK.matcher(line).matches()).toList();
    // The first line may be the rest of one that began at the other host.
    assertTrue(others.size() <= 1 && others.stream().noneMatch(line -> line.contains("] ")), "the guest's kernel logged: " + others);
  }
}
