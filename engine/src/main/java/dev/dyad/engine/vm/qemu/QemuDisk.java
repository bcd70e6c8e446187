package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.json.Json;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One disk of a running QEMU, put on an NBD server and back on its image while the guest runs.
 *
 * <p>What the guest's device hangs on is a {@code raw} node with one child, which QEMU can exchange between two instructions of the
 * guest ({@code blockdev-reopen}): an {@code nbd} node while we serve, a {@code file} node on the same image when we let go. A disk that does not
 * look like this yet is copied to the image by a mirror job of QEMU's and pivoted to such a node. A node to which QEMU gave the name itself ({@code -drive}
 * without a {@code node-name}) cannot be reopened; such a guest is pivoted, too, by a mirror job that copies nothing. Control thread.
 */
public final class QemuDisk {
  /** A server that has gone is waited for this long, the guest's requests with it: until somebody serves again. */
  private static final int RECONNECT_SECONDS = 86_400;

  private static final long COPY_BOUND_NANOS = 24L * 3600 * 1_000_000_000;

  /** Of a job that has nothing to copy, while the guest stands still. */
  private static final long PIVOT_BOUND_NANOS = 10_000_000_000L;

  private static final int POLL_MILLIS = 50;
  private static final String NAMED_BY_QEMU = "#";

  private final QmpChannel qmp;
  private final String disk;

  /**
   * @param disk as the operator names it: a drive id or a node-name
   */
  public QemuDisk(QmpChannel qmp, String disk) {
    this.qmp = qmp;
    this.disk = disk;
  }

  /** Size of the guest's disk. */
  public long bytes() {
    return root().get("image").get("virtual-size").number(0);
  }

  /** The socket from which the guest is served already; null when it is not on NBD. */
  public @Nullable Path servedFrom() {
    String file = root().get("file").text();
    int at = file.indexOf("?socket=");
    return file.startsWith("nbd") && at >= 0 ? Path.of(file.substring(at + "?socket=".length())) : null;
  }

  /**
   * Whether the guest's disk is this very file, without a format around it.
   *
   * @param workingDirectory QEMU's
   */
  public boolean isOn(Path image, Path workingDirectory) {
    return root().get("drv").text().equals("raw") && isSame(image, workingDirectory, root().get("file").text());
  }

  private static boolean isSame(Path image, Path workingDirectory, String file) {
    try {
      return !file.isEmpty() && java.nio.file.Files.isSameFile(image, workingDirectory.resolve(file));
    } catch (java.io.IOException | java.nio.file.InvalidPathException e) {
      return false;
    }
  }

  /** Has QEMU use the server from now on; the guest's content must be what it serves. The guest stands still meanwhile. */
  public void exchange(Path socket) {
    if (rootNode().startsWith(NAMED_BY_QEMU)) {
      // Stopped, so there is no write that the job would have to carry: it reads and writes nothing.
      whileStopped(() -> pivot(socket, "none", PIVOT_BOUND_NANOS, percent -> {}));
      return;
    }
    drop(nbdNode());
    qmp.execute("blockdev-add", nbd(socket));
    reopen(nbdNode());
    drop(fileNode());
  }

  /** Has QEMU use the image itself from now on. The server must not touch it any more, and must serve until this returns. */
  public void giveBack(Path image) {
    drop(fileNode());
    qmp.execute("blockdev-add", "{\"driver\":\"file\",\"node-name\":" + Json.write(fileNode()) + ",\"filename\":" + Json.write(image.toAbsolutePath().toString())
        + ",\"discard\":\"unmap\",\"locking\":\"off\"}");
    reopen(fileNode());
    drop(nbdNode());
  }

  private void reopen(String child) {
    whileStopped(() -> qmp.execute("blockdev-reopen", "{\"options\":[{\"driver\":\"raw\",\"node-name\":" + Json.write(rootNode())
        + ",\"discard\":\"unmap\",\"file\":" + Json.write(child) + "}]}"));
  }

  private void whileStopped(Runnable what) {
    boolean ran = qmp.execute("query-status", "").get("running").isTrue();
    if (ran) {
      qmp.execute("stop", ""); // also writes back what QEMU or the kernel keeps for it
    }
    try {
      what.run();
    } finally {
      if (ran) {
        qmp.execute("cont", "");
      }
    }
  }

  /**
   * Copies the guest's disk to the server and moves the guest over, while it runs; returns when it is there.
   *
   * @param percent told how far it is
   */
  public void copyAndPivot(Path socket, java.util.function.IntConsumer percent) {
    pivot(socket, "full", COPY_BOUND_NANOS, percent);
  }

  /**
   * @param sync what the mirror job copies besides what the guest writes meanwhile
   */
  private void pivot(Path socket, String sync, long boundNanos, java.util.function.IntConsumer percent) {
    String source = rootNode();
    drop(nbdNode());
    qmp.execute("blockdev-add", nbd(socket));
    qmp.execute("blockdev-add", "{\"driver\":\"raw\",\"node-name\":" + Json.write(rawNode()) + ",\"discard\":\"unmap\",\"file\":" + Json.write(nbdNode()) + "}");
    String job = "dyad-" + disk;
    try {
      qmp.execute("blockdev-mirror", "{\"job-id\":" + Json.write(job) + ",\"device\":" + Json.write(source) + ",\"target\":" + Json.write(rawNode())
          + ",\"sync\":" + Json.write(sync) + ",\"copy-mode\":\"write-blocking\"}");
      long giveUpAt = System.nanoTime() + boundNanos;
      boolean completing = false;
      for (Json state = job(job); state != null; state = job(job)) {
        long length = Math.max(1, state.get("len").number(1));
        percent.accept((int) (100 * state.get("offset").number(0) / length));
        if (!completing && state.get("ready").isTrue()) {
          qmp.execute("job-complete", "{\"id\":" + Json.write(job) + "}");
          completing = true;
        }
        if (System.nanoTime() - giveUpAt > 0) {
          throw new QemuException("copying disk " + disk + " did not come to an end");
        }
        pause();
      }
    } catch (RuntimeException e) {
      cancel(job); // or the guest's writes wait for a server that goes
      drop(rawNode());
      drop(nbdNode());
      throw e;
    }
    if (!rootNode().equals(rawNode())) {
      drop(rawNode());
      drop(nbdNode());
      throw new QemuException("disk " + disk + " was not moved to Dyad's server: QEMU's mirror job failed; is the image as large as the disk, and is there space?");
    }
    drop(source); // nobody's any more, if the operator named it with -blockdev
  }

  private void cancel(String job) {
    try {
      qmp.execute("block-job-cancel", "{\"device\":" + Json.write(job) + ",\"force\":true}");
    } catch (QemuException e) {
      // It did not come to a job, or the job has ended.
    }
  }

  private @Nullable Json job(String id) {
    for (Json each : qmp.execute("query-block-jobs", "").elements()) {
      if (each.get("device").text().equals(id)) {
        return each;
      }
    }
    return null;
  }

  /** The node that the guest's device hangs on now. */
  private Json root() {
    List<Json> devices = qmp.execute("query-block", "").elements();
    for (Json device : devices) {
      Json inserted = device.get("inserted");
      String node = inserted.get("node-name").text();
      if (node.equals(disk) && node.startsWith(NAMED_BY_QEMU)) {
        throw new QemuException(disk + " is a name that QEMU made up for this process; name the drive: --disk " + device.get("device").text() + "=FILE");
      }
      if (node.equals(disk) || node.equals(rawNode()) || device.get("device").text().equals(disk)) {
        return inserted;
      }
    }
    List<String> names = devices.stream().map(device -> device.get("device").text().isEmpty() ? device.get("inserted").get("node-name").text() : device.get("device").text())
        .filter(name -> !name.isEmpty()).toList();
    throw new QemuException("this guest has no disk " + disk + "; it has " + (names.isEmpty() ? "none" : String.join(", ", names)));
  }

  private String rootNode() {
    return root().get("node-name").text();
  }

  private void drop(String node) {
    try {
      qmp.execute("blockdev-del", "{\"node-name\":" + Json.write(node) + "}");
    } catch (QemuException e) {
      // Not there, or still in use: then it stays, unused by the guest.
    }
  }

  private String nbd(Path socket) {
    return "{\"driver\":\"nbd\",\"node-name\":" + Json.write(nbdNode()) + ",\"discard\":\"unmap\",\"reconnect-delay\":" + RECONNECT_SECONDS
        + ",\"server\":{\"type\":\"unix\",\"path\":" + Json.write(socket.toString()) + "}}";
  }

  /** As {@code -blockdev} values: what a QEMU that is started for this disk needs in the place of its own. */
  static String blockdev(String node, Path socket) {
    return "driver=raw,node-name=" + node + ",discard=unmap,file.driver=nbd,file.node-name=dyad-" + node + "-nbd,file.discard=unmap,file.reconnect-delay="
        + RECONNECT_SECONDS + ",file.server.type=unix,file.server.path=" + socket;
  }

  /** The same for {@code -drive}, without what the guest sees of it. */
  static List<String> driveParts(String node, Path socket) {
    return List.of("format=raw", "node-name=dyad-" + node, "snapshot=off", "discard=unmap", "file.driver=nbd", "file.node-name=dyad-" + node + "-nbd", "file.discard=unmap",
        "file.reconnect-delay=" + RECONNECT_SECONDS, "file.server.type=unix", "file.server.path=" + socket);
  }

  private String rawNode() {
    return "dyad-" + disk;
  }

  private String nbdNode() {
    return "dyad-" + disk + "-nbd";
  }

  private String fileNode() {
    return "dyad-" + disk + "-file";
  }

  private static void pause() {
    try {
      Thread.sleep(POLL_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new QemuException("interrupted while a disk was copied", e);
    }
  }
}
