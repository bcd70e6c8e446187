package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** When a disk hands requests over, and how it is waited for. */
@Timeout(60)
class UringDiskTest {
  private static final int BLOCK = 4096;
  private static final int LARGE = 64 << 10;
  private static final int BYTES = 1 << 20;
  private static final int FILL = 0x5a;
  private static final long BOUND_NANOS = 20_000_000_000L;

  @TempDir Path folder;
  private Path image;

  @BeforeEach
  void createImage() throws IOException {
    image = folder.resolve("image");
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(BYTES);
    }
  }

  /** Waits until the file has that many bytes of ours from its start on. */
  private void awaitWritten(int bytes) throws IOException {
    long end = System.nanoTime() + BOUND_NANOS;
    int written = 0;
    while (written < bytes) {
      assertTrue(System.nanoTime() < end, "only " + written + " bytes were handed over");
      byte[] content = Files.readAllBytes(image);
      for (written = 0; written < bytes && content[written] == FILL; ) {
        written++;
      }
    }
  }

  private static void write(UringDisk disk, Mapping data, int index, int bytes) {
    Memory.fill(data.hostVirt(), bytes, (byte) FILL);
    assertTrue(disk.submit(BlockDevice.WRITE, 0, (long) index * bytes, bytes, data.hostVirt(), index));
  }

  @Test
  void shouldHandOverFourRequestsWithoutATurn() throws IOException {
    try (UringDisk disk = UringDisk.open(image.toString(), 8);
        Mapping data = Mapping.anonymous(BLOCK)) {
      for (int i = 0; i < 4; i++) {
        write(disk, data, i, BLOCK);
      }
      awaitWritten(4 * BLOCK);
      assertEquals(4, disk.inFlight(), "no turn: nothing is reported");
    }
  }

  @Test
  void shouldHandOverALargeRequestAtOnce() throws IOException {
    try (UringDisk disk = UringDisk.open(image.toString(), 8);
        Mapping data = Mapping.anonymous(LARGE)) {
      write(disk, data, 0, LARGE);
      awaitWritten(LARGE);
    }
  }

  @Test
  void shouldHandOverAndReportWhatIsLessThanABatch() {
    try (UringDisk disk = UringDisk.open(image.toString(), 8);
        Mapping data = Mapping.anonymous(BLOCK)) {
      int[] done = new int[1];
      for (int count = 1; count <= 7; count++) {
        done[0] = 0;
        for (int i = 0; i < count; i++) {
          write(disk, data, i, BLOCK);
        }
        while (done[0] < count) {
          disk.await(Long.MAX_VALUE); // returns: there is something under way
          disk.poll((tag, error) -> done[0] += error == 0 ? 1 : 100);
        }
        assertEquals(count, done[0]);
        assertEquals(0, disk.inFlight());
      }
      disk.await(Long.MAX_VALUE); // nothing under way: no wait
    }
  }
}
