package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The mirror over real files and io_uring. */
class DiskFilesTest {
  private static final int BYTES = 32 << 20;
  private static final int BLOCK = 4096;

  /** Real files on a disk that others use as well: turns say nothing. */
  private static final long BOUND_NANOS = 60_000_000_000L;

  @TempDir Path folder;

  private Path image(String name) throws IOException {
    Path path = folder.resolve(name);
    try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
      file.setLength(BYTES);
    }
    return path;
  }

  private static String refusal(Path image) {
    return Objects.requireNonNull(
        assertThrows(DiskRefusedException.class, () -> DiskFiles.openPrimary(image, MirrorConfig.DEFAULT, 32, 0).close()).getMessage());
  }

  @Test
  void shouldMirrorRealFilesAndNameWhatDiffers() throws Exception {
    Path one = image("one");
    Path two = image("two");
    byte[] old = new byte[8 << 20];
    new Random(1).nextBytes(old);
    try (RandomAccessFile file = new RandomAccessFile(one.toFile(), "rw")) {
      file.write(old);
    }
    Random random = new Random(7);
    SimLink forward = new SimLink(random, 4 << 20);
    SimLink back = new SimLink(random, 4 << 20);
    MirrorConfig config = new MirrorConfig(64, 64 << 10, Long.MAX_VALUE, 0, 60_000_000_000L, true, 1 << 20, 4096, 16);
    try (Mapping buffer = Mapping.anonymous(1 << 20);
        MirroredDisk primary = DiskFiles.openPrimary(one, config, 32, 0);
        StandbyDisk standby = DiskFiles.openStandby(two, config, 32, 16 << 20, new DiskChannel(back.sender, forward.receiver, 1))) {
      primary.attach(new DiskChannel(forward.sender, back.receiver, 1));
      int[] open = {0};
      BlockDevice.Completions done =
          (tag, error) -> {
            assertEquals(0, error);
            open[0]--;
          };
      long acknowledged = -1;
      int submitted = 0;
      long end = System.nanoTime() + BOUND_NANOS;
      for (int turn = 0; System.nanoTime() < end && !(submitted == 500 && open[0] == 0 && primary.isLevel()); turn++) {
        if (submitted < 500 && open[0] < 8) {
          int block = random.nextInt(BYTES / BLOCK);
          long at = buffer.hostVirt() + (long) (submitted % 64) * BLOCK;
          Memory.fill(at, BLOCK, (byte) submitted);
          int op = submitted % 10 == 0 ? BlockDevice.DISCARD : submitted % 25 == 1 ? BlockDevice.FLUSH : BlockDevice.WRITE;
          open[0]++;
          primary.submit(op, 0, op == BlockDevice.FLUSH ? 0 : (long) block * BLOCK, op == BlockDevice.FLUSH ? 0 : BLOCK, at, submitted++);
        }
        primary.poll(done, System.nanoTime());
        standby.poll();
        if (turn % 50 == 0 && primary.epoch() - standby.sealedEpoch() < 4) { // a window, as the protocol has
          primary.seal(primary.epoch());
        }
        if (standby.isWhole(standby.sealedEpoch())) {
          acknowledged = standby.sealedEpoch();
          standby.committed(acknowledged);
        }
      }
      assertTrue(primary.isLevel(), primary.reason() + " / " + primary + " / " + standby);
      primary.seal(primary.epoch());
      while (System.nanoTime() < end && (standby.pendingWrites() > 0 || acknowledged < primary.epoch() - 1)) {
        primary.poll(done, System.nanoTime());
        standby.poll();
        if (standby.isWhole(standby.sealedEpoch())) {
          acknowledged = standby.sealedEpoch();
          standby.committed(acknowledged);
        }
      }
      assertEquals(-1, Files.mismatch(one, two));
      // a block that rots behind our back
      try (RandomAccessFile file = new RandomAccessFile(two.toFile(), "rw")) {
        file.seek(5L * (4 << 20) + 100);
        file.write(~file.read());
      }
      assertTrue(primary.startVerify());
      while (System.nanoTime() < end && primary.resync().isVerifying()) {
        primary.poll(done, System.nanoTime());
        standby.poll();
      }
      assertEquals("[5]", primary.resync().differingExtents().toString());
    }
  }

  @Test
  void shouldRefuseForeignDamagedAndMismatchedMetadataInOneLine() throws Exception {
    Path image = image("image");
    DiskFiles.openPrimary(image, MirrorConfig.DEFAULT, 32, 0).close();
    DiskFiles.openPrimary(image, MirrorConfig.DEFAULT, 32, 0).close();
    byte[] good = Files.readAllBytes(DiskFiles.metadata(image));

    byte[] oneCopy = good.clone();
    oneCopy[100] ^= 1;
    Files.write(DiskFiles.metadata(image), oneCopy);
    DiskFiles.openPrimary(image, MirrorConfig.DEFAULT, 32, 0).close();

    byte[] damaged = good.clone();
    damaged[100] ^= 1;
    damaged[4096 + 100] ^= 1;
    Files.write(DiskFiles.metadata(image), damaged);
    assertTrue(refusal(image).contains("the block is damaged"), refusal(image));

    byte[] foreign = good.clone();
    foreign[0] = 'X';
    foreign[4096] = 'X';
    Files.write(DiskFiles.metadata(image), foreign);
    assertTrue(refusal(image).contains("not a Dyad metadata file"), refusal(image));

    Files.write(DiskFiles.metadata(image), good);
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(BYTES / 2);
    }
    assertTrue(refusal(image).contains("its metadata is of one with " + BYTES), refusal(image));
    assertTrue(refusal(folder.resolve("absent")).contains("ENOENT"));
  }
}
