package dev.dyad.engine.node;

import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskChannel;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.DiskThread;
import dev.dyad.engine.disk.GuestDoor;
import dev.dyad.engine.disk.MirroredDisk;
import dev.dyad.engine.disk.nbd.NbdServer;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A primary's disk with its thread and the guest's door to it.
 *
 * <p>The epoch thread ends the disk's epoch while the guest is paused ({@link #seal}); everything else that it asks is what the disk thread
 * has published at the end of its last turn. The disk counts its epochs by itself: from the baseline on, one for each of the machine's.
 */
public final class PrimaryDisk implements AutoCloseable {
  private static final Logger LOG = System.getLogger("dyad.disk");

  /** While levelling, the standby applies what is sealed: often enough that its log stays small. */
  private static final long LEVELLING_SEAL_NANOS = 20_000_000L;

  /** Two writes of a block with a flush each; a disk that takes longer has failed. */
  private static final long IDENTITY_BOUND_NANOS = 10_000_000_000L;

  private final DiskThread thread;
  private final DiskTurns turns;
  private final MirroredDisk disk;
  private final GuestDoor door;
  private final Path image;
  private final String node;
  private final Runnable seal;
  private long lastLevellingSeal;
  private volatile Runnable bell = () -> {};

  private volatile boolean mirroring;
  private volatile boolean caughtUp;
  private volatile boolean wantsSeal;
  private volatile boolean levelWanted;

  /** What a disk thread that runs already owns; called on it. */
  PrimaryDisk(DiskThread thread, DiskTurns turns, MirroredDisk disk, GuestDoor door, DiskOptions options) {
    this.thread = thread;
    this.turns = turns;
    this.disk = disk;
    this.door = door;
    image = options.image();
    node = options.node();
    seal = () -> disk.seal(disk.epoch());
    door.onRequest(thread::wake);
    turns.become(this::turn, this::rest);
  }

  /** Makes a guest's door to a disk, on the disk thread. */
  interface DoorMaker {
    GuestDoor open(BlockDevice disk);
  }

  /** The way by which QEMU comes. */
  static DoorMaker nbd(DiskOptions options, Path socket) {
    return disk -> new NbdServer(disk, socket, options.node());
  }

  /**
   * Opens an image and serves it.
   *
   * @throws RuntimeException in one line, when it cannot be used
   */
  static PrimaryDisk open(DiskOptions options, DoorMaker maker) {
    DiskTurns turns = new DiskTurns();
    DiskThread thread = new DiskThread(turns, false);
    thread.start();
    try {
      return make(
          thread,
          () -> {
            MirroredDisk disk = DiskFiles.openPrimary(options.image(), options.config(), DiskOptions.DEPTH, 1);
            try {
              GuestDoor door = maker.open(disk);
              disk.onCompletion(door.completions());
              return new PrimaryDisk(thread, turns, disk, door, options);
            } catch (RuntimeException e) {
              disk.close();
              throw e;
            }
          });
    } catch (RuntimeException e) {
      thread.close();
      throw e;
    }
  }

  /** Has the disk thread make something; what it throws is thrown here. */
  static <T> T make(DiskThread thread, java.util.function.Supplier<T> what) {
    AtomicReference<@Nullable T> made = new AtomicReference<>();
    AtomicReference<@Nullable RuntimeException> problem = new AtomicReference<>();
    thread.call(
        () -> {
          try {
            made.set(what.get());
          } catch (RuntimeException e) {
            problem.set(e);
          }
        });
    RuntimeException thrown = problem.get();
    if (thrown != null) {
      throw thrown;
    }
    return java.util.Objects.requireNonNull(made.get());
  }

  private int turn(long now) {
    int work = door.poll() + disk.poll(door.completions(), now);
    if (disk.wantsSeal() || now - lastLevellingSeal > LEVELLING_SEAL_NANOS) {
      lastLevellingSeal = now;
      disk.sealLevelling(!levelWanted);
    }
    publish();
    return work;
  }

  private void rest(DiskRest sleep) {
    door.rest(sleep);
    disk.rest(sleep);
  }

  private void publish() {
    boolean mirrors = disk.isMirroring();
    boolean wants = disk.wantsSeal();
    boolean ring = (mirroring && !mirrors) || (wants && !wantsSeal);
    if (mirroring != mirrors) {
      mirroring = mirrors;
      LOG.log(Level.INFO, mirrors ? "the disk is mirrored" : "the disk is not mirrored: " + disk.reason());
    }
    if (caughtUp != disk.isCaughtUp()) {
      caughtUp = disk.isCaughtUp();
    }
    if (wantsSeal != wants) {
      wantsSeal = wants;
    }
    if (ring) {
      bell.run();
    }
  }

  // ---- the epoch thread's

  /** Rung when {@link #wantsSeal} or the loss of {@link #isMirroring} should be looked at soon. */
  void onNews(Runnable rings) {
    bell = rings;
  }

  /** Ends the disk's epoch. The guest is paused; allocates nothing. */
  void seal() {
    thread.call(seal);
  }

  /** Whether the disk's part of the epoch is as large as it should become. */
  boolean wantsSeal() {
    return wantsSeal;
  }

  /** Whether the standby's disk receives what the guest writes. */
  boolean isMirroring() {
    return mirroring && thread.failure() == null;
  }

  /** Whether the next {@link #seal} makes the standby's disk level. */
  boolean isCaughtUp() {
    return caughtUp;
  }

  /** Levelling is to come to its end now, or may go on flushing for the sake of a resumption. */
  void wantLevel(boolean wanted) {
    levelWanted = wanted;
  }

  /** The guest goes on here alone: what it writes from now on gets an identifier of its own, durably. Waits for that. */
  void goAlone() {
    boolean needed = make(thread, disk::needsIdentity);
    if (!needed) {
      return;
    }
    thread.call(() -> disk.standAlone(DiskFiles.identifier()));
    awaitIdentity();
  }

  /** Waits until the image's new identifier is durable. */
  void awaitIdentity() {
    long giveUpAt = System.nanoTime() + IDENTITY_BOUND_NANOS;
    while (!make(thread, disk::isIdentityDurable)) {
      if (System.nanoTime() - giveUpAt > 0 || make(thread, disk::isImageFailed)) {
        LOG.log(Level.WARNING, "the disk's metadata takes no more: {0}", make(thread, disk::reason));
        return;
      }
      LockSupport.parkNanos(50_000);
    }
  }

  // ---- the control thread's

  Path image() {
    return image;
  }

  String node() {
    return node;
  }

  /** Both rings to the standby's disk; owned from now on. */
  void attach(ReplicationLink out, ReplicaLink back, long generation) {
    thread.call(() -> disk.attach(new DiskChannel(out, back, generation)));
  }

  /** Whether a standby's disk is there, level or not. */
  boolean isConnected() {
    return make(thread, disk::isConnected);
  }

  /** Compares both disks while the guest runs; false when the standby's is not level. */
  boolean startVerify() {
    return make(thread, disk::startVerify);
  }

  /** In one line, empty when nothing is wrong. */
  String reason() {
    return make(thread, disk::reason);
  }

  /** How far levelling is, in percent. */
  int percent() {
    return make(thread, () -> disk.resync().percent());
  }

  /** Bytes that levelling sent since it began. */
  long copiedBytes() {
    return make(thread, () -> disk.resync().copiedBytes());
  }

  /** The disk's part of {@code dyad status}. */
  Map<String, Object> report() {
    return make(thread, this::describe);
  }

  private Map<String, Object> describe() {
    long now = System.nanoTime();
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("image", image.toString());
    report.put("state", disk.isImageFailed() ? "DEGRADED" : disk.isLevel() ? "LEVEL" : disk.isMirroring() ? "LEVELLING" : "ALONE");
    report.put("why", disk.reason());
    report.put("percent", disk.resync().percent());
    report.put("remainingBytes", disk.resync().remainingBytes());
    report.put("bytesPerSecond", disk.isLevel() || !disk.isMirroring() ? 0L : disk.resync().bytesPerSecond(now));
    report.put("copiedBytes", disk.resync().copiedBytes());
    report.put("comparedBytes", disk.resync().comparedBytes());
    report.put("behindBlocks", disk.behindBlocks());
    report.put("verifying", disk.resync().isVerifying());
    report.put("differingBlocks", disk.resync().differing());
    report.put("differingExtents", disk.resync().differingExtents().toString());
    report.put("ringFull", disk.ringFull());
    report.put("clients", (long) door.connections());
    return report;
  }

  /** Others may write to the image from now on: what it is without its marks is recorded, durably. The guest is still served. */
  void leaveToOthers() {
    thread.call(() -> disk.leaveToOthers(DiskFiles.identifier()));
    awaitIdentity();
  }

  /** Ends the disk; the guest's requests wait until somebody serves them again. */
  @Override
  public void close() {
    if (thread.failure() == null) {
      thread.call(
          () -> {
            turns.end();
            door.close();
            disk.close();
          });
    }
    thread.close();
  }
}
