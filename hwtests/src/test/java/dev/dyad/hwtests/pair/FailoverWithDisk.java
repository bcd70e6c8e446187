package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.GuestDisks;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Function;
import org.junit.jupiter.api.BeforeAll;

/**
 * What the tests of a Linux with a protected disk have in common: Debian's kernel in a stock QEMU, its data in ext4 on the disk, a client outside, hosts that die and come
 * back with the images that they had.
 */
abstract class FailoverWithDisk {
  static final Duration BOUND = Duration.ofSeconds(90);

  @BeforeAll
  static void needsLinuxGuestNetworkAndTools() {
    Needs.linuxGuestAndNetwork();
    assumeTrue(Files.isExecutable(Path.of("/usr/sbin/mkfs.ext4")), "mkfs.ext4 is not installed: apt-get install e2fsprogs");
  }

  static void needs(GuestDisks.Program program) {
    assumeTrue(program.unavailable().isEmpty(), program.unavailable());
  }

  /** Looks at the last primary's image, whose file system was found clean. */
  interface Judge {
    void judge(GuestDisks disks, long acked) throws Exception;
  }

  /**
   * Kills the whole primary side again and again; from the second time on the standby is the host that died, with its old image. No acknowledged write may
   * be lost, no connection reset, and the last primary's file system must be clean.
   */
  static void killAndComeBack(int kills, GuestDisks.Content content, Function<LinuxPair, OutsideClient> clientOf, Judge judge) throws Exception {
    try (LinuxPair pair = new LinuxPair(LinuxPair.Options.patient())) {
      GuestDisks disks = pair.withDisk(content);
      pair.startGuest();
      OutsideClient client = clientOf.apply(pair);
      assertTrue(client.awaitAcked(20, BOUND), "the unprotected guest answers\n" + client.problem() + "\n" + pair.logs());
      for (int kill = 0; kill < kills; kill++) {
        protectAndKill(pair, client, kill);
      }
      OutsideClient.Verdict verdict = client.finish(BOUND);
      assertFalse(verdict.reset(), "the connection lived on: " + client.problem());
      assertEquals(0, verdict.lost(), "lost of " + verdict.acked() + " acknowledged writes");
      pair.killEverything();
      assertEquals("", disks.check(), "e2fsck of the last primary's image");
      judge.judge(disks, verdict.acked());
    }
  }

  /** The guest becomes protected, its host dies, the other one goes on and is the primary's then. */
  static void protectAndKill(LinuxPair pair, OutsideClient client, int kill) throws InterruptedException {
    pair.startStandby((kill + 1) % 3);
    pair.startAttach();
    pair.awaitProtected(BOUND);
    Thread.sleep(ThreadLocalRandom.current().nextLong(300, 1500));

    long before = client.acked();
    long killedAt = pair.killPrimary();

    assertTrue(client.awaitAcked(before + 20, BOUND), "kill " + kill + ": the guest answers on\n" + client.problem() + "\n" + pair.logs());
    pair.becomePrimary();
    OutsideClient.Gap gap = client.gapAround(killedAt);
    System.out.printf("kill %d: next reply after %.0f ms%n", kill, gap == null ? 0 : (gap.toNanos() - killedAt) / 1e6);
  }
}
