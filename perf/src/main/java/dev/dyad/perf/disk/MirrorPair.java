package dev.dyad.perf.disk;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_CLOEXEC;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.disk.DiskChannel;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.DiskRest;
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
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A primary's disk for the calling thread and a standby's on a thread of its own, with an epoch every 10 ms. The standby may go and come back.
 */
final class MirrorPair implements AutoCloseable {
  static final long RING_BYTES = 16L << 20;
  private static final long BACK_RING_BYTES = 2L << 20;
  /** Bound of a wait for the primary's disk, so that epochs keep their time. */
  static final long WAIT_NANOS = 1_000_000;

  /** The same where the standby's thread wakes. */
  private static final long PARK_NANOS = 50_000;

  private static final long EPOCH_NANOS = 10_000_000;
  private static final int DEPTH = 128;
  private static final long LOG_BYTES = 1L << 30;
  private static final long LEVEL_NANOS_MAX = 180_000_000_000L;
  private static final MirrorConfig CONFIG =
      new MirrorConfig(256, 256 << 10, Long.MAX_VALUE, 1_000_000_000L, 60_000_000_000L, false, 64L << 20, 1 << 16, 64);

  /** One direction. */
  record Line(ReplicationLink out, ReplicaLink in) {}

  /** A standby's disk and its thread, for one connection. */
  private static final class Standby implements DiskThread.Turn, AutoCloseable {
    private final DiskThread thread;
    private @Nullable StandbyDisk disk;
    private boolean ended;
    private final Path image;
    private final MirrorConfig config;
    private final DiskChannel channel;
    private final Thread owner = Thread.currentThread();
    private volatile long wholeEpoch = -1;

    Standby(Path image, MirrorConfig config, DiskChannel channel) {
      this.image = image;
      this.config = config;
      this.channel = channel;
      thread = new DiskThread(this, false);
      thread.start();
    }

    @Override
    public int poll(long nowNanos) {
      if (ended) {
        return 0;
      }
      StandbyDisk open = disk;
      if (open == null) {
        open = DiskFiles.openStandby(image, config, DEPTH, config.durable() ? LOG_BYTES : 0, channel);
        disk = open;
      }
      int work = open.poll();
      long sealed = open.sealedEpoch();
      if (open.isWhole(sealed) && sealed != wholeEpoch) {
        open.committed(sealed);
        wholeEpoch = sealed;
        LockSupport.unpark(owner); // as the epoch thread is woken
      }
      return work;
    }

    @Override
    public void rest(DiskRest rest) {
      if (disk != null && !ended) {
        disk.rest(rest);
      }
    }

    @Override
    public void close() {
      thread.call(
          () -> {
            ended = true; // there may be one more turn
            if (disk != null) {
              disk.close();
            }
          });
      thread.close();
    }
  }

  private final Path two;
  private final String link;
  private final MirrorConfig config;
  private final MirroredDisk primary;
  private @Nullable Standby standby;
  private long lastSeal;

  /** Level when it returns. */
  MirrorPair(Path one, Path two, String link, boolean durable) {
    this.two = two;
    this.link = link;
    config = CONFIG.withDurable(durable);
    primary = DiskFiles.openPrimary(one, config, DEPTH, 0);
    connect();
  }

  /**
   * The standby comes, or comes back.
   *
   * @return nanoseconds until both are level
   */
  long connect() {
    long start = System.nanoTime();
    Line forward = line(link, RING_BYTES);
    Line back = line(link, BACK_RING_BYTES);
    Standby coming = new Standby(two, config, new DiskChannel(back.out(), forward.in(), 1));
    standby = coming;
    primary.attach(new DiskChannel(forward.out(), back.in(), 1));
    long now = start;
    while (!primary.isLevel()) {
      turn(now);
      if (primary.poll((tag, error) -> {}, now) == 0) {
        primary.await(WAIT_NANOS);
      }
      if (now - start > LEVEL_NANOS_MAX || !primary.reason().isEmpty() || coming.thread.failure() != null) {
        throw new IllegalStateException("the disks do not become level: " + primary.reason(), coming.thread.failure());
      }
      now = System.nanoTime();
    }
    return now - start;
  }

  /** The standby goes; the primary goes on alone and notes what it writes. */
  void disconnect() {
    primary.standAlone(DiskFiles.identifier());
    closeStandby();
  }

  private void closeStandby() {
    if (standby != null) {
      standby.close();
      standby = null;
    }
  }

  static Line line(String link, long ringBytes) {
    if (link.equals("shm")) {
      FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
      ShmReplicaLink in = ShmReplicaLink.create(ends[1], ringBytes);
      return new Line(ShmReplicationLink.receive(ends[0], ringBytes, 5_000), in);
    }
    // Not a pair of unix sockets: those hold 208 KiB, so that both ends work by turns.
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet("127.0.0.1", 0), 1)) {
      FileDescriptor out = connected(Sockets.connect(Sockets.localAddress(listener.fd()), SOCK_STREAM()));
      FileDescriptor in = connected(FileDescriptor.adopt(Sockets.accept(listener.fd(), SOCK_CLOEXEC())));
      return new Line(new TcpReplicationLink(out, ringBytes), new TcpReplicaLink(in, ringBytes));
    }
  }

  private static FileDescriptor connected(FileDescriptor socket) {
    Sockets.setNoDelay(socket.fd());
    return socket;
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

  /** Ends the open epoch now. */
  long seal() {
    long epoch = primary.epoch();
    primary.seal(epoch);
    return epoch;
  }

  /** Whether the standby has that epoch as the durability asks. */
  boolean isWhole(long epoch) {
    return standby != null && standby.wholeEpoch >= epoch;
  }

  /** Waits a little for {@link #isWhole}. */
  void awaitStandby() {
    LockSupport.parkNanos(PARK_NANOS);
  }

  @Override
  public void close() {
    primary.close();
    closeStandby();
  }
}
