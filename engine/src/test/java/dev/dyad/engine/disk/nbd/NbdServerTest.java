package dev.dyad.engine.disk.nbd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskThread;
import dev.dyad.engine.disk.UringDisk;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.jspecify.annotations.Nullable;

/** Other people's NBD clients against the server. */
class NbdServerTest {
  static final int BYTES = 24 << 20;
  private static final int PIECE = 64 << 10;

  @TempDir Path folder;
  private @Nullable DiskThread thread;
  private @Nullable BlockDevice disk;
  private @Nullable NbdServer server;
  private Path socket = Path.of("");
  private Path image = Path.of("");
  private String uri = "";

  @BeforeEach
  void serve() throws InterruptedException {
    socket = folder.resolve("nbd.sock");
    image = folder.resolve("image");
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
              return up.poll() + turn(open, up, now);
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
  void stop() throws Exception {
    DiskThread running = thread;
    if (running != null) {
      atRest(uri, image);
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

  /** One turn of the device; on the disk thread. */
  int turn(BlockDevice device, NbdServer present, long now) {
    return device.poll(present.completions());
  }

  /** After the clients have gone, while it is still served. */
  void atRest(String served, Path from) throws Exception {}

  final String run(String... command) throws IOException, InterruptedException {
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

  /** What a client learns of the disk: one line for each extent, its start, length and kind. */
  private List<String> map() throws Exception {
    return run("nbdinfo", "--map", uri).lines().map(line -> line.strip().replaceAll(" +", " ")).toList();
  }

  /** What qemu-img makes of it: of a served disk, or of the file itself. */
  private List<String> mapByQemu(String what) throws Exception {
    return Json.parse(run("qemu-img", "map", "-f", "raw", "--output=json", what)).elements().stream()
        .map(extent -> extent.get("start") + " " + extent.get("length") + " " + extent.get("zero") + " " + extent.get("data")).toList();
  }

  @Test
  void mapsShouldTellHolesFromData() throws Exception {
    assertEquals(List.of("0 " + BYTES + " 3 hole,zero"), map());
    run("qemu-io", "-f", "raw", "-c", "write -P 1 1M 1M", "-c", "write -P 1 5M 64k", "-c", "discard 1088k 64k", "-c", "flush", uri);
    List<String> expected =
        List.of("0 1048576 3 hole,zero", "1048576 65536 0 data", "1114112 65536 3 hole,zero", "1179648 917504 0 data", "2097152 3145728 3 hole,zero",
            "5242880 65536 0 data", "5308416 " + (BYTES - 5308416) + " 3 hole,zero");
    assertEquals(expected, map());
    assertEquals(mapByQemu(image.toString()), mapByQemu(uri));

    run("qemu-io", "-f", "raw", "-c", "write -z -u 1M 64k", "-c", "write -z 1536k 64k", "-c", "write -P 2 1600k 512", "-c", "write -P 3 23M 1M", uri);
    assertEquals(mapByQemu(image.toString()), mapByQemu(uri));
    assertEquals(BYTES - (1 << 20) + " 1048576 0 data", map().getLast());
  }

  @Test
  void mapOfMoreExtentsThanOneAnswerHoldsShouldBeWhole() throws Exception {
    scatter();
    List<String> map = map();
    assertEquals(BYTES / PIECE, map.size());
    for (int i = 0; i < map.size(); i++) {
      assertEquals(i * PIECE + " " + PIECE + (i % 2 == 0 ? " 0 data" : " 3 hole,zero"), map.get(i));
    }
    assertEquals(mapByQemu(image.toString()), mapByQemu(uri));
  }

  @Test
  void oneAnswerShouldHoldNoMoreExtentsThanAreBounded() throws Exception {
    scatter();
    try (StatusClient client = new StatusClient(socket)) {
      List<Integer> many = client.extents(PIECE / 2, BYTES - PIECE / 2, 0);
      assertEquals(64, many.size(), "the first of " + BYTES / PIECE);
      assertEquals(List.of(PIECE / 2, PIECE, PIECE), many.subList(0, 3));
      assertEquals(List.of(PIECE), client.extents(0, BYTES, Nbd.CMD_FLAG_REQ_ONE));
      assertEquals(List.of(512), client.extents(PIECE, 512, 0), "no more than was asked for");
    }
  }

  /** Every other piece is data. */
  private void scatter() throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      for (int at = 0; at < BYTES; at += 2 * PIECE) {
        file.seek(at);
        file.write(new byte[PIECE]);
      }
    }
  }

  @Test
  void copiesShouldBeAsSparseAsTheDisk() throws Exception {
    run("qemu-io", "-f", "raw", "-c", "write -P 1 3M 1M", uri);
    Path out = folder.resolve("out");
    run("nbdcopy", uri, out.toString());
    assertEquals(-1, Files.mismatch(image, out));
    assertEquals(mapByQemu(image.toString()), mapByQemu(out.toString()));
  }
}
