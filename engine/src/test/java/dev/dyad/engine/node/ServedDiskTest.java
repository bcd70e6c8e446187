package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.vm.qemu.IdleQemu;
import dev.dyad.engine.vm.qemu.QemuAttach;
import dev.dyad.engine.vm.qemu.QemuDisk;
import dev.dyad.engine.vm.qemu.QemuException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A running QEMU's disk, however it was named to QEMU, put on our server and given back; QEMU itself reads and writes it. */
class ServedDiskTest {
  private static final long BYTES = 16L << 20;
  private static final int PIECE = 64 << 10;

  @TempDir private Path folder = Path.of("");

  private static final class Guest implements AutoCloseable {
    private final IdleQemu process;
    private final QemuAttach qemu;
    private final String device;
    private int seen;

    /**
     * @param device as the monitor's {@code qemu-io} takes it
     */
    Guest(String device, String... arguments) {
      this.device = device;
      process = IdleQemu.start(List.of("stdbuf", "-oL"), arguments);
      try {
        qemu = QemuAttach.attach(process.qmp());
      } catch (RuntimeException e) {
        process.close();
        throw e;
      }
    }

    /** The piece of that number becomes full of that number. */
    void write(int piece) throws IOException {
      assertSaid("wrote", io("write -P " + piece + " " + (long) piece * PIECE + " " + PIECE));
      assertEquals("", io("flush"));
    }

    void find(int piece) throws IOException {
      assertSaid("read", io("read -P " + piece + " " + (long) piece * PIECE + " " + PIECE));
    }

    /** What the command prints: on QEMU's standard output. */
    private String io(String command) throws IOException {
      assertEquals("", qemu.qmp().monitor("qemu-io " + device + " \"" + command + "\""), command);
      String log = Files.readString(process.qmp().resolveSibling("qemu.log"));
      String said = log.substring(seen);
      seen = log.length();
      return said;
    }

    private static void assertSaid(String done, String said) {
      assertTrue(said.startsWith(done + " " + PIECE + "/" + PIECE), said);
    }

    @Override
    public void close() {
      qemu.close();
      process.close();
    }
  }

  private Path image(String name) throws IOException {
    Path image = folder.resolve(name);
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(BYTES);
    }
    return image;
  }

  private static int found(Path image, int piece) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      file.seek((long) piece * PIECE + PIECE - 1);
      return file.read();
    }
  }

  private static DiskOptions options(String node, Path image) {
    return new DiskOptions(node, image, false, Long.MAX_VALUE);
  }

  private static String name() {
    return "served" + ProcessHandle.current().pid();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "virtio0 virtio0 -drive file=IMAGE,if=virtio,format=raw",
        "d0 d0 -drive file=IMAGE,if=none,id=d0,format=raw,cache=none -device virtio-blk-pci,drive=d0",
        "d0 d0 -drive file=IMAGE,if=virtio,id=d0,format=raw,bps=100000000",
        "n0 virtio0 -drive file=IMAGE,if=virtio,format=raw,node-name=n0",
        "n0 -d_/machine/peripheral/v0/virtio-backend -blockdev driver=raw,node-name=n0,file.driver=file,file.filename=IMAGE -device virtio-blk-pci,id=v0,drive=n0"
      })
  void shouldTakeOverTheImageThatItIsOnAndGiveItBackAsOftenAsWanted(String how) throws Exception {
    Path image = image("image");
    List<String> words = Stream.of(how.split(" ")).map(word -> word.replace("IMAGE", image.toString())).toList();
    String node = words.getFirst();
    try (Guest guest = new Guest(words.get(1).replace('_', ' '), words.subList(2, words.size()).toArray(String[]::new))) {
      guest.write(1);
      QemuDisk disk = new QemuDisk(guest.qemu.qmp(), node);
      int piece = 1;
      for (int round = 0; round < 2; round++) {
        assertNull(disk.servedFrom());
        FileTime before = Files.getLastModifiedTime(image);
        PrimaryDisk served = ServedDisk.serve(guest.qemu, options(node, image), name());
        try {
          assertEquals(before, Files.getLastModifiedTime(image), "nothing is written to the image when it changes hands");
          assertTrue(String.valueOf(disk.servedFrom()).endsWith("-" + node + ".nbd"), String.valueOf(disk.servedFrom()));
          guest.write(++piece);
          assertEquals(piece, found(image, piece));
        } finally {
          ServedDisk.giveBack(served, disk);
        }
        guest.write(++piece);
        for (int each = 1; each <= piece; each++) {
          assertEquals(each, found(image, each), "round " + round);
          guest.find(each);
        }
      }
    }
  }

  @Test
  void shouldCopyADriveThatIsAnotherFileOrFormat() throws Exception {
    Path image = folder.resolve("copy");
    Path format = folder.resolve("disk.qcow2");
    assertEquals(0, new ProcessBuilder("qemu-img", "create", "-q", "-f", "qcow2", format.toString(), Long.toString(BYTES)).start().waitFor());
    try (Guest guest = new Guest("virtio0", "-drive", "file=" + format + ",if=virtio,format=qcow2")) {
      guest.write(1);
      QemuDisk disk = new QemuDisk(guest.qemu.qmp(), "virtio0");
      PrimaryDisk served = ServedDisk.serve(guest.qemu, options("virtio0", image), name());
      try {
        guest.write(2);
        assertEquals(1, found(image, 1), "what was there");
        assertEquals(2, found(image, 2), "what was written since");
      } finally {
        ServedDisk.giveBack(served, disk);
      }
      guest.find(1);
      guest.write(3);
      assertEquals(3, found(image, 3), "it stays on the image");
    }
  }

  @Test
  void shouldSayHowADiskIsNamed() throws Exception {
    Path image = image("image");
    try (Guest guest = new Guest("virtio0", "-drive", "file=" + image + ",if=virtio,format=raw")) {
      String madeUp = guest.qemu.qmp().execute("query-block", "").elements().getFirst().get("inserted").get("node-name").text();
      assertTrue(madeUp.startsWith("#block"), madeUp);
      assertRefused(guest, options(madeUp, image), madeUp + " is a name that QEMU made up for this process; name the drive: --disk virtio0=FILE");
      assertRefused(guest, options("vda", image), "this guest has no disk vda; it has virtio0");
    }
  }

  private static void assertRefused(Guest guest, DiskOptions options, String reason) {
    QemuException refusal = assertThrows(QemuException.class, () -> ServedDisk.serve(guest.qemu, options, name()).close());
    assertEquals(reason, refusal.getMessage());
  }
}
