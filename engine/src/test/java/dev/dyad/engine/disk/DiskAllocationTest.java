package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.SteadyAllocation;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.util.Random;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A request of the guest makes no object: on the local image, and mirrored to a second one with everything that the standby does for it. */
@Timeout(120)
class DiskAllocationTest {
  private static final int IOS = 10_000;

  private static final int BYTES = 16 << 20;
  private static final int BLOCK = 4096;
  private static final int DEPTH = 8;

  @TempDir Path folder;
  private final SplittableRandom random = new SplittableRandom(3);
  private int inFlight;
  private int errors;
  private final BlockDevice.Completions done =
      (tag, error) -> {
        inFlight--;
        errors += error < 0 ? 1 : 0;
      };

  private Path image(String name) throws IOException {
    Path path = folder.resolve(name);
    try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
      file.setLength(BYTES);
    }
    return path;
  }

  /** Reads, writes and flushes in turn, with a queue that is kept full. */
  private void run(BlockDevice device, long buffer, Runnable turn) {
    for (int i = 0; i < IOS || inFlight > 0; ) {
      while (i < IOS && inFlight < DEPTH) {
        int op = i % 64 == 63 ? BlockDevice.FLUSH : i % 4 == 0 ? BlockDevice.READ : BlockDevice.WRITE;
        boolean flush = op == BlockDevice.FLUSH;
        long offset = flush ? 0 : (long) random.nextInt(BYTES / BLOCK) * BLOCK;
        if (!device.submit(op, 0, offset, flush ? 0 : BLOCK, buffer + (long) (i % DEPTH) * BLOCK, i)) {
          break;
        }
        inFlight++;
        i++;
      }
      turn.run();
    }
  }

  private void shouldAllocateNothing(BlockDevice device, Runnable turn) {
    try (Mapping buffer = Mapping.anonymous((long) DEPTH * BLOCK)) {
      long allocated = SteadyAllocation.bytes(() -> run(device, buffer.hostVirt(), turn));
      assertEquals(0, errors);
      assertEquals(0, allocated, "bytes in " + IOS + " requests");
    }
  }

  @Test
  void shouldAllocateNothingForARequestOfALocalDisk() throws IOException {
    try (UringDisk disk = UringDisk.open(image("one").toString(), 32)) {
      shouldAllocateNothing(disk, () -> disk.poll(done));
    }
  }

  @Test
  void shouldAllocateNothingForARequestOfAMirroredDisk() throws IOException {
    Random links = new Random(7);
    SimLink forward = new SimLink(links, 4 << 20);
    SimLink back = new SimLink(links, 4 << 20);
    MirrorConfig config = new MirrorConfig(64, 64 << 10, Long.MAX_VALUE, 1_000_000, 60_000_000_000L, false, 16 << 20, 4096, 16);
    try (MirroredDisk primary = DiskFiles.openPrimary(image("one"), config, 32, 0);
        StandbyDisk standby = DiskFiles.openStandby(image("two"), config, 32, 0, new DiskChannel(back.sender, forward.receiver, 1))) {
      primary.attach(new DiskChannel(forward.sender, back.receiver, 1));
      int[] turns = {0};
      Runnable turn =
          () -> {
            primary.poll(done, System.nanoTime());
            standby.poll();
            if (turns[0]++ % 32 == 0 && primary.epoch() - standby.sealedEpoch() < 4) {
              primary.seal(primary.epoch());
            }
            if (standby.isWhole(standby.sealedEpoch())) {
              standby.committed(standby.sealedEpoch());
            }
          };
      while (!primary.isLevel()) {
        turn.run();
      }
      shouldAllocateNothing(primary, turn);
      assertTrue(primary.isLevel(), primary.reason());
    }
  }
}
