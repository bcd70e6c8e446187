package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.perf.pair.GuestDisks;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Redis that flushes its log before each reply, fio that verifies what it writes. The client outside, e2fsck and the files on the image decide. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class DiskFailoverTest extends FailoverWithDisk {
  private static final int KILLS_SOAK = Integer.getInteger("dyad.kills", 20);

  @Test
  void shouldHaveEveryAcknowledgedWriteOnTheDiskAfterHostsDiedAndCameBack() throws Exception {
    killAndComeBack(2, new GuestDisks.Content(64, GuestDisks.Program.NONE, GuestDisks.Shape.BLOCKDEV, false, "memory"), LinuxPair::startClient, DiskFailoverTest::everyKeyIsInTheLog);
  }

  @Test
  void shouldCopyTheGuestsDiskWhileItRunsAndGiveItBackAtTheEnd() throws Exception {
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      GuestDisks disks = pair.withDisk(new GuestDisks.Content(64, GuestDisks.Program.NONE, GuestDisks.Shape.BLOCKDEV, true, "memory"));
      pair.startGuest();
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(20, BOUND), "the unprotected guest answers\n" + pair.logs());
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);

      detach(pair, client);
      everythingIsOn(disks, pair, client);
    }
  }

  @Test
  void shouldProtectADriveThatHasItsNameFromQemu() throws Exception {
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      GuestDisks disks = pair.withDisk(new GuestDisks.Content(64, GuestDisks.Program.NONE, GuestDisks.Shape.DRIVE, false, "memory"));
      pair.startGuest();
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(20, BOUND), "the unprotected guest answers\n" + pair.logs());
      protectAndKill(pair, client, 0);
      pair.startStandby(2);
      pair.startAttach();
      pair.awaitProtected(BOUND);
      detach(pair, client);
      everythingIsOn(disks, pair, client);
    }
  }

  private static void detach(LinuxPair pair, OutsideClient client) throws InterruptedException {
    pair.attach().destroy(); // as Ctrl-C does
    assertTrue(pair.attach().waitFor(30, TimeUnit.SECONDS), "the attachment ends\n" + pair.logs());
    long before = client.acked();
    assertTrue(client.awaitAcked(before + 50, BOUND), "the guest goes on without us\n" + client.problem() + "\n" + pair.logs());
  }

  private static void everythingIsOn(GuestDisks disks, LinuxPair pair, OutsideClient client) throws InterruptedException {
    OutsideClient.Verdict verdict = client.finish(BOUND);
    assertFalse(verdict.reset(), "the connection lived on: " + client.problem());
    assertEquals(0, verdict.lost(), "lost of " + verdict.acked());
    pair.killEverything();
    assertEquals("", disks.check(), "e2fsck of the image that the guest was given back to");
    everyKeyIsInTheLog(disks, verdict.acked());
  }

  @Test
  @Tag("soak")
  @Timeout(value = 2, unit = TimeUnit.HOURS)
  void shouldVerifyWhatFioWroteOverManyFailovers() throws Exception {
    needs(GuestDisks.Program.FIO);
    killAndComeBack(KILLS_SOAK, new GuestDisks.Content(512, GuestDisks.Program.FIO, GuestDisks.Shape.BLOCKDEV, true, "memory"), LinuxPair::startClient, DiskFailoverTest::fioFoundNothing);
    killAndComeBack(KILLS_SOAK, new GuestDisks.Content(512, GuestDisks.Program.FIO, GuestDisks.Shape.BLOCKDEV, false, "disk"), LinuxPair::startClient, DiskFailoverTest::fioFoundNothing);
  }

  private static void everyKeyIsInTheLog(GuestDisks disks, long acked) {
    assertEquals(acked, disks.keysOnDisk(acked), "acknowledged writes in the log on the disk");
  }

  private static void fioFoundNothing(GuestDisks disks, long acked) {
    everyKeyIsInTheLog(disks, acked);
    String rounds = new String(disks.file("/run.log"), StandardCharsets.UTF_8);
    assertTrue(rounds.contains("round 1 ok"), "fio verified something: " + rounds);
    assertFalse(rounds.contains("failed"), rounds);
  }
}
