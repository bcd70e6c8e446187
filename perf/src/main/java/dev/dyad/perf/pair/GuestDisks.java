package dev.dyad.perf.pair;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * The images of a protected guest's disk, one for each host, with ext4 on the first; which host is the primary changes with each take-over. Looks
 * into them from outside when nobody uses them any more. One thread.
 */
public final class GuestDisks {
  /** Where the guest's etcd keeps its data, in the file system on the disk. */
  public static final String ETCD_FOLDER = "/etcd";

  /** How QEMU is told of the disk. */
  public enum Shape {
    BLOCKDEV("disk0"),

    /** Without a name: its node has one that QEMU makes up, anew in each process. */
    DRIVE("virtio0");

    /** What it is for {@code dyad --disk}. */
    private final String node;

    Shape(String node) {
      this.node = node;
    }

    private String[] qemuArguments(Path image) {
      return switch (this) {
        case BLOCKDEV ->
            new String[] {
              "-blockdev", "driver=raw,node-name=" + node + ",discard=unmap,file.driver=file,file.discard=unmap,file.filename=" + image,
              "-device", "virtio-blk-pci,drive=" + node + ",romfile="
            };
        case DRIVE -> new String[] {"-drive", "file=" + image + ",if=virtio,format=raw,discard=unmap"};
      };
    }
  }

  /** What the guest runs on the disk besides Redis, from the disk. */
  public enum Program {
    NONE("", ""),

    /** Writes and reads back with checksums, round after round, for as long as the guest lives. */
    FIO(
        "/usr/bin/fio",
        """
        round=0
        while :; do
          $run --name=verify --filename=/data/verify.dat --size=8M --rw=randwrite --bs=4k --ioengine=psync --direct=1 --fsync=64 \\
            --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --randseed=$round --output=/data/fio.out \\
            || { echo "fio failed in round $round"; sync; exit 1; }
          round=$((round + 1))
          echo "fio round $round ok"
          sync
        done
        """),

    /** A member that is its whole cluster; it has each write in its log, flushed, before it answers. */
    ETCD(
        "/usr/bin/etcd",
        """
        peer=http://127.0.0.1:2380
        exec $run --name one --data-dir /data%s --listen-client-urls http://0.0.0.0:%s --advertise-client-urls http://127.0.0.1:%2$s \\
          --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster one=$peer
        """
            .formatted(GuestDisks.ETCD_FOLDER, LinuxPair.ETCD_PORT));

    private final String path;
    private final String script;

    Program(String path, String script) {
      this.path = path;
      this.script = script;
    }

    /** Why a guest cannot run it, in one line; empty when it can. */
    public String unavailable() {
      return path.isEmpty() || Files.isExecutable(Path.of(path)) ? "" : path + " is not installed";
    }

    /** Puts it into the tree that becomes the file system, with its libraries in one folder that its own loader is told of. */
    private void addTo(Path tree) throws IOException {
      if (path.isEmpty()) {
        return;
      }
      Path folder = Files.createDirectories(tree.resolve("bin"));
      Files.copy(Path.of(path), folder.resolve("program"));
      for (String line : output(0, "ldd", path).split("\n")) {
        String library = line.substring(line.contains("=>") ? line.indexOf("=>") + 2 : 0).strip().split(" ", 2)[0];
        if (library.startsWith("/")) {
          String name = Path.of(library).getFileName().toString();
          Files.copy(Path.of(library), folder.resolve(name.startsWith("ld-") ? "ld.so" : name));
        }
      }
      Path run = tree.resolve("run");
      Files.writeString(run, "#!/bin/sh\nrun='/data/bin/ld.so --library-path /data/bin /data/bin/program'\n" + script);
      Files.setPosixFilePermissions(run, PosixFilePermissions.fromString("rwxr-xr-x"));
    }
  }

  /**
   * What is on the disk.
   *
   * @param megabytes its size
   * @param program that the guest runs on it besides Redis
   * @param shape of the guest's disk in QEMU's command line
   * @param copied whether the first attachment copies the guest's disk to another image, instead of taking the image that it is on
   * @param durability as {@code dyad} takes it
   */
  public record Content(int megabytes, Program program, Shape shape, boolean copied, String durability) {}

  private final Path directory;
  private final Content content;
  private final Path original;
  private Path primary;
  private Path standby;

  private GuestDisks(Path directory, Content content) {
    this.directory = directory;
    this.content = content;
    original = directory.resolve("original.img");
    primary = content.copied() ? directory.resolve("a.img") : original;
    standby = directory.resolve("b.img");
  }

  static GuestDisks make(Path directory, Content content) {
    GuestDisks disks = new GuestDisks(directory, content);
    try {
      Path tree = Files.createDirectories(directory.resolve("tree"));
      content.program().addTo(tree);
      for (Path image : new Path[] {disks.original, disks.primary, disks.standby}) {
        try (var file = new java.io.RandomAccessFile(image.toFile(), "rw")) {
          file.setLength((long) content.megabytes() << 20);
        }
      }
      output(0, "mkfs.ext4", "-q", "-F", "-d", tree.toString(), disks.original.toString());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return disks;
  }

  String[] qemuArguments() {
    return content.shape().qemuArguments(original);
  }

  String primaryArgument() {
    return content.shape().node + "=" + primary;
  }

  String standbyArgument() {
    return content.shape().node + "=" + standby;
  }

  List<String> moreArguments() {
    return List.of("--durability", content.durability());
  }

  void swap() {
    Path other = primary;
    primary = standby;
    standby = other;
  }

  /** The image of the host on which the guest runs, or ran last. */
  public Path primary() {
    return primary;
  }

  public Path standby() {
    return standby;
  }

  /** The image with which the guest was started. */
  public Path original() {
    return original;
  }

  /**
   * Replays the journal of the file system in {@link #primary} and then checks it as a whole.
   *
   * @return empty when it is clean, else what e2fsck found
   */
  public String check() {
    output(3, "e2fsck", "-p", "-E", "journal_only", primary.toString());
    Finished check = run("e2fsck", "-f", "-n", primary.toString());
    return check.exitCode() == 0 ? "" : check.output();
  }

  /** Content of a file of the guest's, empty if it is not there; after {@link #check}. */
  public byte[] file(String path) {
    Path out = directory.resolve("dumped");
    try {
      Files.deleteIfExists(out);
      output(0, "debugfs", "-R", "dump " + path + " " + out, primary.toString());
      return Files.exists(out) ? Files.readAllBytes(out) : new byte[0];
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Copies a folder of the guest's with all that is in it; after {@link #check}.
   *
   * @param into becomes that folder's parent
   */
  public void folder(String path, Path into) {
    try {
      Files.createDirectories(into);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    output(0, "debugfs", "-R", "rdump " + path + " " + into, primary.toString());
  }

  /** How many of the keys 1 to {@code acked} Redis has in its append-only file on the disk. */
  public long keysOnDisk(long acked) {
    String log = new String(file("/appendonlydir/appendonly.aof.1.incr.aof"), StandardCharsets.ISO_8859_1);
    long found = 0;
    int from = 0;
    for (long key = 1; key <= acked; key++) {
      int at = log.indexOf("\r\nkey:" + key + "\r\n", from);
      if (at >= 0) {
        found++;
        from = at;
      }
    }
    return found;
  }

  private record Finished(int exitCode, String output) {}

  private static String output(int exitCodeMax, String... words) {
    Finished finished = run(words);
    if (finished.exitCode() > exitCodeMax) {
      throw new IllegalStateException("'" + String.join(" ", words) + "' ended with " + finished.exitCode() + ": " + finished.output());
    }
    return finished.output();
  }

  private static Finished run(String... words) {
    List<String> line = new ArrayList<>(List.of(words));
    try {
      Path tool = Path.of("/usr/sbin", line.getFirst());
      if (Files.isExecutable(tool)) {
        line.set(0, tool.toString());
      }
      Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
      String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      process.waitFor(60, TimeUnit.SECONDS);
      return new Finished(process.exitValue(), text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }
}
