package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.nic.NetworkLab;
import dev.dyad.perf.pair.GuestDisks;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.RedisClient;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Debian's kernel with ext4 on a mirrored disk, Redis that flushes its log before each reply, fio that verifies what it writes; hosts die and
 * come back. The client outside, e2fsck and the files on the image decide.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class DiskFailoverTest {
  private static final Duration BOUND = Duration.ofSeconds(90);
  private static final int KILLS_SOAK = Integer.getInteger("dyad.kills", 20);

  @BeforeAll
  static void needsLinuxGuestNetworkAndTools() {
    try {
      LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      assumeTrue(false, String.valueOf(e.getMessage()));
    }
    String noNetwork = NetworkLab.unavailable();
    assumeTrue(noNetwork.isEmpty(), noNetwork);
    assumeTrue(Files.isExecutable(Path.of("/usr/sbin/mkfs.ext4")), "mkfs.ext4 is not installed: apt-get install e2fsprogs");
  }

  @Test
  void shouldHaveEveryAcknowledgedWriteOnTheDiskAfterHostsDiedAndCameBack() throws Exception {
    killAndComeBack(2, new GuestDisks.Content(64, false, false, "memory"));
  }

  @Test
  void shouldCopyTheGuestsDiskWhileItRunsAndGiveItBackAtTheEnd() throws Exception {
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      GuestDisks disks = pair.withDisk(new GuestDisks.Content(64, false, true, "memory"));
      pair.startGuest();
      RedisClient client = pair.startClient();
      assertTrue(client.awaitAcked(20, BOUND), "the unprotected guest answers\n" + pair.logs());
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);

      pair.attach().destroy(); // as Ctrl-C does
      assertTrue(pair.attach().waitFor(30, TimeUnit.SECONDS), "the attachment ends\n" + pair.logs());
      long before = client.acked();
      assertTrue(client.awaitAcked(before + 50, BOUND), "the guest goes on without us\n" + client.problem() + "\n" + pair.logs());

      RedisClient.Verdict verdict = client.finish(BOUND);
      assertEquals(0, verdict.lost(), "lost of " + verdict.acked());
      pair.killEverything();
      assertEquals("", disks.check(), "e2fsck of the image that it was copied to");
      assertEquals(verdict.acked(), disks.keysOnDisk(verdict.acked()), "acknowledged writes in the log on that image");
    }
  }

  @Test
  @Tag("soak")
  @Timeout(value = 2, unit = TimeUnit.HOURS)
  void shouldVerifyWhatFioWroteOverManyFailovers() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/usr/bin/fio")), "fio is not installed: apt-get install fio");
    killAndComeBack(KILLS_SOAK, new GuestDisks.Content(512, true, true, "memory"));
    killAndComeBack(KILLS_SOAK, new GuestDisks.Content(512, true, false, "disk"));
  }

  private static void killAndComeBack(int kills, GuestDisks.Content content) throws Exception {
    Random random = new Random();
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      GuestDisks disks = pair.withDisk(content);
      pair.startGuest();
      RedisClient client = pair.startClient();
      assertTrue(client.awaitAcked(20, BOUND), "the unprotected guest answers\n" + pair.logs());
      for (int kill = 0; kill < kills; kill++) {
        // From the second time on, the standby is the host that died, with its old disk.
        pair.startStandby((kill + 1) % 3);
        pair.startAttach();
        pair.awaitProtected(BOUND);
        Thread.sleep(random.nextLong(300, 1500));

        long before = client.acked();
        long killedAt = pair.killPrimary();

        assertTrue(client.awaitAcked(before + 20, BOUND), "kill " + kill + ": the guest answers on\n" + client.problem() + "\n" + pair.logs());
        pair.becomePrimary();
        RedisClient.Gap gap = client.gapAround(killedAt);
        System.out.printf("kill %d: next reply after %.0f ms%n", kill, gap == null ? 0 : (gap.toNanos() - killedAt) / 1e6);
      }
      RedisClient.Verdict verdict = client.finish(BOUND);
      assertFalse(verdict.reset(), "the connection lived on: " + client.problem());
      assertEquals(0, verdict.lost(), "lost of " + verdict.acked() + " acknowledged writes");
      pair.killEverything();
      assertEquals("", disks.check(), "e2fsck of the last primary's image");
      assertEquals(verdict.acked(), disks.keysOnDisk(verdict.acked()), "acknowledged writes in the log on the disk");
      if (content.fio()) {
        String rounds = new String(disks.file("/run.log"), StandardCharsets.UTF_8);
        assertTrue(rounds.contains("round 1 ok"), "fio verified something: " + rounds);
        assertFalse(rounds.contains("failed"), rounds);
      }
    }
  }
}
