package dev.dyad.engine.node;

import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.qemu.QemuAttach;
import dev.dyad.engine.vm.qemu.QemuDisk;
import dev.dyad.engine.vm.qemu.QemuException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;

/**
 * Puts a running QEMU's disk on a server of ours and gives it back. Control thread.
 *
 * <p>Four ways in: the guest is served from here already (a protector that died, or the standby that took over and hands the disk on), its
 * disk is the image itself, or it is something else and is copied to the image first.
 */
final class ServedDisk {
  private static final Logger LOG = System.getLogger("dyad.disk");

  /** What a node that has a promoted guest's disk is asked by one that will protect it. */
  static final String HAND_OVER = "hand over the disk";

  private ServedDisk() {}

  static QemuDisk of(QemuAttach qemu, PrimaryDisk disk) {
    return new QemuDisk(qemu.qmp(), disk.node());
  }

  /**
   * @throws RuntimeException in one line; the guest's disk is then as it was
   */
  static PrimaryDisk serve(QemuAttach qemu, DiskOptions options, String name) {
    QemuDisk guests = new QemuDisk(qemu.qmp(), options.node());
    Path from = guests.servedFrom();
    Path socket = from != null ? from : RuntimeDirectory.path().resolve(name + "-" + options.node() + ".nbd");
    if (from != null) {
      askForIt(qemu.pid());
    } else {
      makeRoom(options.image(), guests.bytes());
    }
    PrimaryDisk disk = PrimaryDisk.open(options, PrimaryDisk.nbd(options, socket));
    if (from != null) {
      return disk; // QEMU comes back by itself, with the requests that wait
    }
    try {
      if (guests.isOn(options.image(), qemu.description().workingDirectory())) {
        guests.exchange(socket);
      } else {
        LOG.log(Level.INFO, "copying disk {0} to {1}", options.node(), options.image());
        guests.copyAndPivot(socket, percent -> {});
      }
      return disk;
    } catch (RuntimeException e) {
      disk.close();
      throw e;
    }
  }

  private static void makeRoom(Path image, long bytes) {
    try {
      if (!Files.exists(image)) {
        try (var file = new java.io.RandomAccessFile(image.toFile(), "rw")) {
          file.setLength(bytes);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException("disk image " + image + " cannot be made: " + e.getMessage(), e);
    }
  }

  /** The guest's requests wait from the hand-over until somebody serves again. */
  private static void askForIt(int qemuPid) {
    try {
      for (Path socket : RuntimeDirectory.statusSockets()) {
        Json report = reportOf(socket);
        if (report != null && report.get("role").text().equals("taken over") && report.get("qemuPid").number(0) == qemuPid) {
          String answer = StatusEndpoint.tell(socket, HAND_OVER);
          if (!answer.isEmpty()) {
            throw new QemuException("the node that has this guest's disk does not hand it over: " + answer);
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static @org.jspecify.annotations.Nullable Json reportOf(Path socket) {
    try {
      return Json.parse(StatusEndpoint.ask(socket, true));
    } catch (IOException | IllegalArgumentException e) {
      return null; // its node is gone
    }
  }

  /** The guest goes on with the image itself. When QEMU does not take it, the guest's requests wait until somebody serves again. */
  static void giveBack(PrimaryDisk disk, QemuDisk guests) {
    try {
      disk.leaveToOthers(); // before the first write that nobody marks
      guests.giveBack(disk.image());
    } catch (RuntimeException e) {
      LOG.log(Level.WARNING, "the guest''s disk cannot be given back: {0}; its requests wait until dyad attach serves it again", e.getMessage());
    }
    disk.close();
  }
}
