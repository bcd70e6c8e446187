package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where an image has data: 8 KiB at 1 MiB of 16. */
class ExtentTest {
  private static final long BYTES = 16 << 20;
  private static final long AT = 1 << 20;

  @TempDir Path folder;
  private Path image;

  @BeforeEach
  void make() throws IOException {
    image = folder.resolve("image");
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(BYTES);
      file.seek(AT);
      file.write(new byte[8192]);
    }
  }

  @Test
  void shouldBeWhatTheFileSystemSaysInWholeBlocks() {
    try (UringDisk disk = UringDisk.open(image.toString(), 8)) {
      assertEquals(-AT, disk.extent(0, BYTES));
      assertEquals(-4096, disk.extent(0, 4096), "no more than was asked for");
      assertEquals(-(AT - 4096), disk.extent(4096, BYTES - 4096));
      assertEquals(8192, disk.extent(AT, BYTES - AT));
      assertEquals(4096, disk.extent(AT, 4096));
      assertEquals(4096, disk.extent(AT + 4096, BYTES - AT - 4096));
      assertEquals(-(BYTES - AT - 8192), disk.extent(AT + 8192, BYTES - AT - 8192));
    }
  }

  @Test
  void shouldBeOneOfABlockDevice() throws Exception {
    String device = run("losetup", "--find", "--show", image.toString());
    try (UringDisk disk = UringDisk.open(device, 8)) {
      assertEquals(BYTES, disk.bytes());
      assertEquals(BYTES, disk.extent(0, BYTES));
      assertEquals(BYTES - AT, disk.extent(AT, BYTES - AT));
    } finally {
      run("losetup", "--detach", device);
    }
  }

  private static String run(String... command) throws IOException, InterruptedException {
    Process process = new ProcessBuilder(List.of(command)).redirectErrorStream(true).start();
    String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    assumeTrue(process.waitFor() == 0, "no loop device to be had: " + text);
    return text;
  }
}
