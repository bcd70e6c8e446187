package dev.dyad.engine.disk.nbd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskThread;
import dev.dyad.engine.disk.UringDisk;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.jspecify.annotations.Nullable;

/** Other people's NBD clients against the server. */
class NbdServerTest {
  private static final int BYTES = 24 << 20;

  @TempDir Path folder;
  private @Nullable DiskThread thread;
  private @Nullable BlockDevice disk;
  private @Nullable NbdServer server;
  private String uri = "";

  @BeforeEach
  void serve() throws InterruptedException {
    Path socket = folder.resolve("nbd.sock");
    Path image = folder.resolve("image");
    DiskThread running =
        new DiskThread(
            now -> {
              BlockDevice open = disk;
              NbdServer up = server;
              if (open == null || up == null) {
                open = open(image, BYTES);
                up = new NbdServer(open, socket, "disk");
                ready(open, up);
                disk = open;
                server = up;
              }
              return up.poll() + open.poll(up.completions());
            },
            false);
    thread = running;
    running.start();
    for (int i = 0; i < 500 && !Files.exists(socket); i++) {
      Thread.sleep(10);
    }
    uri = "nbd+unix:///disk?socket=" + socket;
  }

  @AfterEach
  void stop() {
    DiskThread running = thread;
    if (running != null) {
      assertNull(running.failure());
      running.close();
    }
    if (disk != null && server != null) {
      disk.close();
      server.close();
    }
  }

  /** What is served; on the disk thread. */
  BlockDevice open(Path image, long bytes) {
    return UringDisk.open(image.toString(), 64, bytes);
  }

  /** Before the first request; on the disk thread. */
  void ready(BlockDevice device, NbdServer present) {}

  private String run(String... command) throws IOException, InterruptedException {
    assumeTrue(new ProcessBuilder("which", command[0]).start().waitFor() == 0, command[0] + " is not installed (libnbd-bin, qemu-utils)");
    Path output = folder.resolve("output");
    Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile()).start();
    boolean ended = process.waitFor(60, TimeUnit.SECONDS);
    if (!ended) {
      process.destroyForcibly().waitFor();
    }
    String text = Files.readString(output, StandardCharsets.UTF_8);
    assertTrue(ended && process.exitValue() == 0, String.join(" ", command) + ": " + text);
    return text;
  }

  private Path randomFile(String name, int bytes, long seed) throws IOException {
    byte[] data = new byte[bytes];
    new Random(seed).nextBytes(data);
    return Files.write(folder.resolve(name), data);
  }

  @Test
  void infoShouldTellWhatIsOffered() throws Exception {
    String info = run("nbdinfo", uri);
    assertTrue(info.contains("export-size: " + BYTES), info);
    for (String offered : new String[] {"can_flush: true", "can_fua: true", "can_trim: true", "can_zero: true", "can_multi_conn: true", "can_df: true"}) {
      assertTrue(info.contains(offered), offered + " in " + info);
    }
    assertTrue(info.contains("base:allocation"), info);
    assertTrue(info.contains("block_size_maximum: " + NbdRequests.BUFFER_BYTES), info);
    assertTrue(run("nbdinfo", "--list", uri).contains("disk"));
    assertTrue(run("nbdinfo", "--map", uri).contains("data"));
  }

  @Test
  void nbdcopyShouldBringBackWhatItPutThere() throws Exception {
    Path in = randomFile("in", BYTES, 1);
    Path out = folder.resolve("out");
    run("nbdcopy", "--connections=4", "--requests=16", "--flush", in.toString(), uri);
    run("nbdcopy", "--connections=4", uri, out.toString());
    assertEquals(-1, Files.mismatch(in, out));
  }

  @Test
  void qemuImgShouldFindTheDiskEqualToItsSource() throws Exception {
    Path in = randomFile("in", BYTES, 2);
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", in.toString(), uri);
    assertTrue(run("qemu-img", "compare", "-f", "raw", "-F", "raw", in.toString(), uri).contains("identical"));
  }

  @Test
  void qemuIoShouldWriteZeroDiscardAndFlush() throws Exception {
    String out =
        run(
            "qemu-io", "-f", "raw", "-c", "write -P 0xaa 0 2M", "-c", "write -f -P 0xbb 64k 64k", "-c", "write -z 128k 64k", "-c", "write -z -u 192k 64k",
            "-c", "discard 256k 64k", "-c", "flush", "-c", "read -P 0xaa 0 64k", "-c", "read -P 0xbb 64k 64k", "-c", "read -P 0 128k 192k",
            "-c", "read -P 0xaa 320k 1728k", "-c", "aio_write -P 0xcc 4M 1M", "-c", "aio_write -P 0xcd 5M 1M", "-c", "aio_flush", "-c", "read -P 0xcc 4M 1M",
            "-c", "read -P 0xcd 5M 1M", uri);
    assertTrue(!out.contains("verification failed") && !out.contains("rror"), out);
  }
}
