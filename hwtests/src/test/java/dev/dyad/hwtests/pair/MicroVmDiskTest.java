package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.json.Json;
import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.MicroVmPair;
import dev.dyad.perf.pair.OutsideClient;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A microVM that writes each key down on its disk before it answers, while hosts die and come back with their old disks. */
@Timeout(value = 4, unit = java.util.concurrent.TimeUnit.MINUTES)
class MicroVmDiskTest {
  private static final Duration BOUND = Duration.ofSeconds(60);
  private static final int KILLS = Integer.getInteger("dyad.kills", 3);
  private static final long IMAGE_BYTES = 64L << 20;
  private static final int RECORD_BYTES = 2048;
  private static final long RECORD_MAGIC = 0x4452_4f43_4552_4759L;

  @BeforeEach
  void needsKvm() {
    Needs.kvm();
  }

  @Test
  void shouldHaveEveryAcknowledgedRecordOnTheDiskOfTheLastHost() throws Exception {
    try (MicroVmPair pair = new MicroVmPair(new MicroVmPair.Options("10ms", "1s", 32, 1, 16, 10, 0))) {
      pair.withDisk((int) (IMAGE_BYTES >> 20));
      pair.startPrimary();
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(20, BOUND), "the guest answers\n" + pair.logs());
      for (int kill = 0; kill < KILLS; kill++) {
        pair.startStandby();
        pair.awaitProtected(BOUND);
        if (kill > 0) {
          Json disk = pair.status().orElseThrow().get("disk");
          long looked = disk.get("comparedBytes").number(IMAGE_BYTES);
          long moved = disk.get("copiedBytes").number(IMAGE_BYTES);
          System.out.printf("host %d came back: %d bytes compared, %d moved%n", kill, looked, moved);
          assertTrue(looked < IMAGE_BYTES / 2 && moved < IMAGE_BYTES / 4, "of a host that comes back only what was marked is compared and only what differs moves: " + disk);
        }
        long before = client.acked();
        assertTrue(client.awaitAcked(before + 20, BOUND), "the protected guest answers\n" + pair.logs());
        before = client.acked();
        pair.killPrimary();
        pair.awaitTakenOver(BOUND);
        assertTrue(client.awaitAcked(before + 20, BOUND), "kill " + kill + ": the guest answers on\n" + pair.logs());
      }
      OutsideClient.Verdict verdict = client.finish(BOUND);
      assertFalse(verdict.reset(), client.problem());
      assertEquals(0, verdict.lost(), "lost of " + verdict.acked());
      Path image = pair.image();
      pair.primary().destroyForcibly().waitFor();
      long records = records(image);
      assertTrue(records >= verdict.acked(), records + " records on the disk, acknowledged were " + verdict.acked());
    }
  }

  /** Records from the first on, without a gap. */
  private static long records(Path image) throws Exception {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      byte[] head = new byte[16];
      for (long number = 1; number * RECORD_BYTES <= file.length(); number++) {
        file.seek((number - 1) * RECORD_BYTES);
        file.readFully(head);
        ByteBuffer words = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN);
        if (words.getLong(0) != RECORD_MAGIC || words.getLong(8) != number) {
          return number - 1;
        }
      }
      return file.length() / RECORD_BYTES;
    }
  }
}
