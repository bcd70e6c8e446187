package dev.dyad.perf.disk;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Sockets;
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
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** A primary's disk for the calling thread and a standby's on a thread of its own, level, with an epoch every 10 ms. */
final class MirrorPair implements AutoCloseable {
  private static final long RING_BYTES = 16L << 20;
  private static final long EPOCH_NANOS = 10_000_000;
  private static final int DEPTH = 128;
  private static final MirrorConfig CONFIG =
      new MirrorConfig(256, 256 << 10, Long.MAX_VALUE, 1_000_000_000L, 60_000_000_000L, false, 64L << 20, 1 << 16, 64);

  /** One direction. */
  private record Line(ReplicationLink out, ReplicaLink in) {}

  private final AtomicReference<@Nullable StandbyDisk> standby = new AtomicReference<>();
  private final DiskThread thread;
  private final MirroredDisk primary;
  private long lastSeal;
  private volatile boolean ended;

  MirrorPair(Path one, Path two, String link) {
    Line forward = line(link);
    Line back = line(link);
    DiskChannel there = new DiskChannel(back.out(), forward.in(), 1);
    thread =
        new DiskThread(
            now -> {
              if (ended) {
                return 0;
              }
              StandbyDisk disk = standby.get();
              if (disk == null) {
                disk = DiskFiles.openStandby(two, CONFIG, DEPTH, 0, there);
                standby.set(disk);
              }
              int work = disk.poll();
              if (disk.isWhole(disk.sealedEpoch())) {
                disk.committed(disk.sealedEpoch());
              }
              return work;
            },
            false);
    thread.start();
    primary = DiskFiles.openPrimary(one, CONFIG, DEPTH, 0);
    primary.attach(new DiskChannel(forward.out(), back.in(), 1));
    long deadline = System.nanoTime() + 120_000_000_000L;
    while (!primary.isLevel()) {
      long now = System.nanoTime();
      turn(now);
      primary.poll((tag, error) -> {}, now);
      if (now > deadline || !primary.reason().isEmpty() || thread.failure() != null) {
        throw new IllegalStateException("the disks do not become level: " + primary.reason(), thread.failure());
      }
    }
  }

  private static Line line(String link) {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    if (link.equals("shm")) {
      ShmReplicaLink in = ShmReplicaLink.create(ends[1], RING_BYTES);
      return new Line(ShmReplicationLink.receive(ends[0], RING_BYTES, 5_000), in);
    }
    return new Line(new TcpReplicationLink(ends[0], RING_BYTES), new TcpReplicaLink(ends[1], RING_BYTES));
  }

  MirroredDisk disk() {
    return primary;
  }

  /** What the epoch thread would do. */
  void turn(long now) {
    if (now - lastSeal > EPOCH_NANOS || primary.wantsSeal()) {
      lastSeal = now;
      primary.seal(primary.epoch());
    }
    primary.tick(now);
  }

  /** On the disk thread, to which the standby's rings belong. */
  private void endStandby() {
    ended = true;
    StandbyDisk disk = standby.get();
    if (disk != null) {
      disk.close();
    }
  }

  @Override
  public void close() {
    primary.close();
    thread.call(this::endStandby);
    thread.close();
  }
}
