package dev.dyad.engine.disk.nbd;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskChannel;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.DiskThread;
import dev.dyad.engine.disk.MirrorConfig;
import dev.dyad.engine.disk.MirroredDisk;
import dev.dyad.engine.disk.StandbyDisk;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The same clients against a primary's disk whose standby lives, from before it is level on; afterwards the standby's image is the primary's, byte by byte.
 */
class NbdOnPairTest extends NbdOnMirrorTest {
  private static final long RING_BYTES = 4L << 20;
  private static final long EPOCH_NANOS = 2_000_000;
  private static final int WINDOW = 16;
  private static final long BOUND_NANOS = 60_000_000_000L;

  private record Line(ReplicationLink out, ReplicaLink in) {
    static Line open() {
      FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
      ShmReplicaLink in = ShmReplicaLink.create(ends[1], RING_BYTES);
      return new Line(ShmReplicationLink.receive(ends[0], RING_BYTES, 5_000), in);
    }
  }

  private @Nullable DiskThread standbyThread;
  private Path otherImage = Path.of("");
  private long lastSeal;

  // Published by the disk's thread and the standby's for the test's.
  private volatile long openEpoch;
  private volatile boolean level;
  private volatile String reason = "";
  private volatile long wholeEpoch;
  private volatile long pending;

  @Override
  BlockDevice open(Path image, long bytes) {
    otherImage = image.resolveSibling("other");
    try (RandomAccessFile file = new RandomAccessFile(otherImage.toFile(), "rw")) {
      file.setLength(bytes);
      file.write(new byte[] {1, 2, 3}); // which the primary's has not
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
    MirroredDisk primary = (MirroredDisk) super.open(image, bytes);
    Line forward = Line.open();
    Line back = Line.open();
    startStandby(new DiskChannel(back.out(), forward.in(), 1));
    primary.attach(new DiskChannel(forward.out(), back.in(), 1));
    return primary;
  }

  private void startStandby(DiskChannel channel) {
    @Nullable StandbyDisk[] opened = new @Nullable StandbyDisk[1];
    DiskThread started =
        new DiskThread(
            now -> {
              StandbyDisk standby = opened[0];
              if (standby == null) {
                standby = DiskFiles.openStandby(otherImage, MirrorConfig.DEFAULT, 64, 0, channel);
                opened[0] = standby;
              }
              int work = standby.poll();
              long sealed = standby.sealedEpoch();
              if (sealed != wholeEpoch && standby.isWhole(sealed)) {
                standby.committed(sealed);
                wholeEpoch = sealed;
              }
              pending = standby.pendingWrites();
              return work;
            },
            false);
    standbyThread = started;
    started.start();
  }

  @Override
  int turn(BlockDevice device, NbdServer present, long now) {
    MirroredDisk mirror = (MirroredDisk) device;
    if (now - lastSeal > EPOCH_NANOS || mirror.wantsSeal()) {
      lastSeal = now;
      if (mirror.isLevel() ? mirror.epoch() - wholeEpoch < WINDOW : mirror.isCaughtUp()) {
        mirror.seal(mirror.epoch());
      } else {
        mirror.sealLevelling(true); // not what a window bounds
      }
      openEpoch = mirror.epoch();
      level = mirror.isLevel();
      reason = mirror.reason();
    }
    return mirror.poll(present.completions(), now);
  }

  @Override
  void atRest(String served, Path image) throws Exception {
    DiskThread standby = java.util.Objects.requireNonNull(standbyThread);
    try {
      long last = openEpoch; // everything that was answered belongs to it at the latest
      long end = System.nanoTime() + BOUND_NANOS;
      while (!level || wholeEpoch < last || pending > 0) {
        assertNull(standby.failure());
        assertTrue(reason.isEmpty() && System.nanoTime() < end, "level " + level + ", epoch " + last + ", whole " + wholeEpoch + ", pending " + pending + " " + reason);
        Thread.sleep(5);
      }
      assertTrue(run("qemu-img", "compare", "-f", "raw", "-F", "raw", served, otherImage.toString()).contains("identical"));
      assertEquals(-1, Files.mismatch(image, otherImage), "the standby's image");
    } finally {
      standby.close();
    }
  }
}
