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
  /** QEMU's name of the disk. */
  public static final String NODE = "disk0";

  private static final String FIO_ROUNDS =
      """
      #!/bin/sh
      # Writes and reads back with checksums, round after round, for as long as the guest lives.
      round=0
      while :; do
        /data/fio/ld.so --library-path /data/fio /data/fio/fio --name=verify --filename=/data/verify.dat --size=8M --rw=randwrite --bs=4k \\
          --ioengine=psync --direct=1 --fsync=64 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --randseed=$round \\
          --output=/data/fio.out || { echo "fio failed in round $round"; sync; exit 1; }
        round=$((round + 1))
        echo "fio round $round ok"
        sync
      done
      """;

  /**
   * What is on the disk.
   *
   * @param megabytes its size
   * @param fio whether the guest runs fio with verification on it, besides Redis
   * @param copied whether the first attachment copies the guest's disk to another image, instead of taking the image that it is on
   * @param durability as {@code dyad} takes it
   */
  public record Content(int megabytes, boolean fio, boolean copied, String durability) {}

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
      if (content.fio()) {
        addFio(tree);
      }
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

  /** The program with its libraries, all in one folder that its own loader is told of. */
  private static void addFio(Path tree) throws IOException {
    Path folder = Files.createDirectories(tree.resolve("fio"));
    Path fio = Path.of("/usr/bin/fio");
    Files.copy(fio, folder.resolve("fio"));
    for (String line : output(0, "ldd", fio.toString()).split("\n")) {
      String path = line.substring(line.contains("=>") ? line.indexOf("=>") + 2 : 0).strip().split(" ", 2)[0];
      if (path.startsWith("/")) {
        String name = Path.of(path).getFileName().toString();
        Files.copy(Path.of(path), folder.resolve(name.startsWith("ld-") ? "ld.so" : name));
      }
    }
    Path run = tree.resolve("run");
    Files.writeString(run, FIO_ROUNDS);
    Files.setPosixFilePermissions(run, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  String[] qemuArguments() {
    return new String[] {
      "-blockdev", "driver=raw,node-name=" + NODE + ",discard=unmap,file.driver=file,file.discard=unmap,file.filename=" + original,
      "-device", "virtio-blk-pci,drive=" + NODE + ",romfile="
    };
  }

  String primaryArgument() {
    return NODE + "=" + primary;
  }

  String standbyArgument() {
    return NODE + "=" + standby;
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
