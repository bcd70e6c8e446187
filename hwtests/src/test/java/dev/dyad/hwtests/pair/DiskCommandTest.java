package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.cli.ExitCode;
import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.MicroVmPair;
import dev.dyad.perf.pair.OutsideClient;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** {@code dyad disk} against a pair that lives and against the images that it leaves. */
@Timeout(value = 4, unit = java.util.concurrent.TimeUnit.MINUTES)
class DiskCommandTest {
  private static final Duration BOUND = Duration.ofSeconds(90);
  private static final int MEGABYTES = 64;
  private static final long DIFFERENT_AT = 40L << 20;
  private static final long EXTENT_BYTES = 4L << 20;

  @BeforeEach
  void needsKvm() {
    Needs.kvm();
  }

  private static MicroVmPair pair() {
    MicroVmPair pair = new MicroVmPair(new MicroVmPair.Options("10ms", "1s", 32, 1, 16, 10, 0));
    pair.withDisk(MEGABYTES);
    return pair;
  }

  private static OutsideClient startProtected(MicroVmPair pair) throws Exception {
    pair.startPrimary();
    OutsideClient client = pair.startClient();
    pair.startStandby();
    pair.awaitProtected(BOUND);
    assertTrue(client.awaitAcked(5, BOUND), "the guest writes\n" + pair.logs());
    return client;
  }

  private static void discardTheOtherAndBecomeLevel(MicroVmPair pair) throws Exception {
    pair.killStandby();
    run(pair, ExitCode.OK, "disk", "discard", pair.otherImage().toString());
    pair.startStandby();
    pair.awaitProtected(BOUND);
    assertTrue(run(pair, ExitCode.OK, "disk", "verify").output().contains("both disks are equal"));
  }

  private static MicroVmPair.Finished run(MicroVmPair pair, int exitCode, String... words) {
    MicroVmPair.Finished finished = pair.dyad(BOUND, words);
    assertEquals(exitCode, finished.exitCode(), String.join(" ", words) + ": " + finished.output() + "\n" + pair.logs());
    return finished;
  }

  private static void writeBehindTheBackOf(Path image) throws Exception {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rws")) {
      file.seek(DIFFERENT_AT);
      file.write(1);
    }
  }

  @Test
  void verifyShouldNameTheExtentThatDiffersWhileTheGuestWritesAndDiscardShouldMendIt() throws Exception {
    try (MicroVmPair pair = pair()) {
      pair.startPrimary();
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(5, BOUND), "the guest answers\n" + pair.logs());
      MicroVmPair.Finished alone = run(pair, ExitCode.UNAVAILABLE, "disk", "verify");
      assertTrue(alone.output().contains("not level"), alone.output());
      pair.startStandby();
      pair.awaitProtected(BOUND);
      long before = client.acked();
      assertTrue(run(pair, ExitCode.OK, "disk", "verify").output().contains("both disks are equal"));
      assertTrue(client.awaitAcked(before + 5, BOUND), "the guest wrote meanwhile\n" + pair.logs());

      writeBehindTheBackOf(pair.otherImage());
      MicroVmPair.Finished differs = run(pair, ExitCode.FINDING, "disk", "verify");
      assertTrue(differs.output().contains("1 block differs"), differs.output());
      assertTrue(differs.output().contains("[" + DIFFERENT_AT / EXTENT_BYTES + "]"), differs.output());

      MicroVmPair.Finished used = run(pair, ExitCode.UNAVAILABLE, "disk", "discard", pair.otherImage().toString());
      assertTrue(used.output().contains("is used by another process"), used.output());
      discardTheOtherAndBecomeLevel(pair);
      assertEquals(0, client.finish(BOUND).lost());
    }
  }

  @Test
  void forceShouldLetAMachineStartFromAStandbysImageAndResetShouldMakeAStrangerOfIt() throws Exception {
    try (MicroVmPair pair = pair()) {
      OutsideClient client = startProtected(pair);
      client.finish(BOUND);
      pair.killBothAndSwap();

      Path image = pair.image();
      Process refused = pair.startPrimary();
      assertEquals(ExitCode.UNAVAILABLE, refused.waitFor(), pair.logs());
      assertTrue(pair.logs().contains("dyad disk force"), "it says what to do\n" + pair.logs());
      run(pair, ExitCode.OK, "disk", "force", image.toString());
      assertTrue(run(pair, ExitCode.OK, "disk", "force", image.toString()).output().contains("was good already"));
      pair.startPrimary();
      assertTrue(pair.startClient().awaitAcked(5, BOUND), "the guest runs from it\n" + pair.logs());
      for (String decision : new String[] {"force", "discard", "reset"}) {
        run(pair, ExitCode.UNAVAILABLE, "disk", decision, image.toString());
      }
      pair.killBothAndSwap();

      run(pair, ExitCode.OK, "disk", "reset", image.toString());
      assertTrue(Files.notExists(image.resolveSibling(image.getFileName() + ".dyad")));
      assertTrue(run(pair, ExitCode.UNAVAILABLE, "disk", "reset", image.toString()).output().contains("no metadata"));
    }
  }

  @Test
  void twoHistoriesShouldBeRefusedUntilAPersonDiscardsOne() throws Exception {
    try (MicroVmPair pair = pair()) {
      OutsideClient client = startProtected(pair);
      pair.killStandby();
      long before = client.acked();
      assertTrue(client.awaitAcked(before + 5, BOUND), "it goes on alone: an answer to the world is a history of its own\n" + pair.logs());
      client.finish(BOUND);
      pair.killBothAndSwap(); // and so does the other one now
      run(pair, ExitCode.OK, "disk", "force", pair.image().toString());
      pair.startPrimary();
      assertTrue(pair.startClient().awaitAcked(5, BOUND), "the guest runs from the other image\n" + pair.logs());

      pair.startStandby();
      pair.awaitLogged("(dyad disk discard)", BOUND); // divergent, or foreign if the standby was killed when it had just become level
      discardTheOtherAndBecomeLevel(pair);
    }
  }
}
