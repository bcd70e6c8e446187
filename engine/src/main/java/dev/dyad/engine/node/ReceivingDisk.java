package dev.dyad.engine.node;

import dev.dyad.engine.disk.DiskChannel;
import dev.dyad.engine.disk.DiskFiles;
import dev.dyad.engine.disk.DiskRefusedException;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.DiskThread;
import dev.dyad.engine.disk.FrontDevice;
import dev.dyad.engine.disk.GuestDoor;
import dev.dyad.engine.disk.MirroredDisk;
import dev.dyad.engine.disk.StandbyDisk;
import dev.dyad.engine.disk.UringDisk;
import dev.dyad.engine.link.Channel;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.Session;
import dev.dyad.engine.vm.kvm.QueuedDisk;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A standby's disk with its thread and the door of the machine that waits: pairs the primary's two connections, receives, and becomes a
 * {@link PrimaryDisk} at a take-over.
 *
 * <p>The disk counts its epochs by itself, one for each of the machine's from the baseline on: the seal that makes it level is the
 * baseline's. Control threads offer connections, the epoch thread asks what the disk thread has published, and promotes.
 */
public final class ReceivingDisk implements AutoCloseable {
  private static final Logger LOG = System.getLogger("dyad.disk");
  private static final long NONE = -1;
  private static final int WAITING_DEPTH = 16;
  private static final long PROMOTION_BOUND_NANOS = 60_000_000_000L;

  private final DiskOptions options;
  private final Path socket;
  private final DiskTurns turns = new DiskTurns();
  private final DiskThread thread = new DiskThread(turns, false);
  private final FrontDevice front;
  private final GuestDoor door;
  private @Nullable StandbyDisk disk;
  private @Nullable PrimaryDisk taken;
  private boolean promoting;
  private volatile Runnable bell = () -> {};

  // Half of a pair of connections, until the other half comes. Guarded by this.
  private byte[] pairing = new byte[0];
  private @Nullable ReplicaLink in;
  private @Nullable ReplicationLink out;

  private volatile boolean receiving;
  private volatile boolean level;
  private volatile long levelEpoch = NONE;
  private volatile long wholeEpoch = NONE;
  private volatile long committedEpoch = NONE;
  private volatile String refusal = "";

  /**
   * For a QEMU or a microVM that waits.
   *
   * @param socket of the NBD server
   * @throws RuntimeException in one line, when it cannot be used
   */
  public ReceivingDisk(DiskOptions options, Path socket) {
    this(options, socket, device -> new EitherDoor(device, socket, options.node()));
  }

  ReceivingDisk(DiskOptions options, Path socket, PrimaryDisk.DoorMaker maker) {
    this.options = options;
    this.socket = socket;
    thread.start();
    try {
      front = PrimaryDisk.make(thread, () -> new FrontDevice(UringDisk.open(options.image().toString(), WAITING_DEPTH)));
      door = PrimaryDisk.make(thread, () -> maker.open(front));
      thread.call(
          () -> {
            front.onCompletion(door.completions());
            turns.become(this::turn, this::rest);
          });
    } catch (RuntimeException e) {
      thread.close();
      throw e;
    }
  }

  private int turn(long now) {
    int work = door.poll() + front.poll(door.completions());
    StandbyDisk present = disk;
    if (present != null) {
      if (committedEpoch != NONE) {
        present.committed(committedEpoch);
      }
      work += present.poll();
      publish(present);
    }
    return work;
  }

  private void rest(DiskRest sleep) {
    door.rest(sleep);
    front.rest(sleep);
    StandbyDisk present = disk;
    if (present != null) {
      present.rest(sleep);
    }
  }

  private void publish(StandbyDisk present) {
    if (receiving != present.isConnected()) {
      receiving = present.isConnected();
      if (!receiving && !promoting) {
        LOG.log(Level.INFO, "the disk does not receive: {0}", present.reason());
      }
    }
    if (level != present.isLevel()) {
      level = present.isLevel();
      if (!level && !promoting) {
        LOG.log(Level.WARNING, "the disk cannot be taken over from: {0}", present.reason());
      }
    }
    if (levelEpoch == NONE && present.isLevel()) {
      wholeEpoch = present.levelEpoch() - 1;
      levelEpoch = present.levelEpoch();
    }
    long whole = wholeEpoch;
    while (levelEpoch != NONE && present.isWhole(whole + 1)) {
      whole++;
    }
    if (whole != wholeEpoch) {
      wholeEpoch = whole;
      bell.run();
    }
  }

  // ---- control threads

  /** A connection of the primary's for its disk; owned from now on. */
  synchronized void offer(Session session) throws IOException {
    byte[] pair = session.offer().memoryDigest();
    long generation = session.offer().generation();
    if (!Arrays.equals(pair, pairing)) {
      endHalves();
      pairing = pair.clone();
    }
    if (session.offer().channel() == Channel.DISK) {
      in = session.receivingEnd();
    } else {
      out = session.sendingEnd();
    }
    ReplicaLink receives = in;
    ReplicationLink sends = out;
    if (receives != null && sends != null) {
      in = null;
      out = null;
      pairing = new byte[0];
      thread.call(() -> begin(new DiskChannel(sends, receives, generation)));
    }
  }

  private void endHalves() {
    ReplicaLink receives = in;
    ReplicationLink sends = out;
    if (receives != null) {
      receives.close();
      in = null;
    }
    if (sends != null) {
      sends.close();
      out = null;
    }
  }

  private void begin(DiskChannel channel) {
    end();
    try {
      disk = DiskFiles.openStandby(options.image(), options.config(), DiskOptions.DEPTH, DiskOptions.LOG_BYTES, channel);
      refusal = "";
    } catch (DiskRefusedException e) {
      refusal = String.valueOf(e.getMessage());
      LOG.log(Level.WARNING, "the disk cannot receive: {0}", refusal);
      channel.close();
    }
  }

  private void end() {
    StandbyDisk present = disk;
    if (present != null) {
      present.close();
      disk = null;
    }
    receiving = false;
    level = false;
    levelEpoch = NONE;
    wholeEpoch = NONE;
    committedEpoch = NONE;
  }

  /** Where the waiting machine finds its disk. */
  Path socket() {
    return socket;
  }

  String node() {
    return options.node();
  }

  /** The way for a microVM's device; null when this disk was opened for another kind. */
  @Nullable QueuedDisk queue() {
    return door instanceof EitherDoor either ? either.queue() : null;
  }

  // ---- the epoch thread's

  /** Rung when more is whole. */
  void onNews(Runnable rings) {
    bell = rings;
  }

  /** Whether the primary's disk is connected to this one. */
  boolean isReceiving() {
    return receiving;
  }

  /** Whether this disk refuses to be taken over from, now or for good. */
  boolean isUnfit() {
    return !level || thread.failure() != null;
  }

  /**
   * Whether the disk's part of a machine's epoch is here.
   *
   * @param baseline the epoch whose seal made this disk level
   */
  boolean isWhole(long epoch, long baseline) {
    long level = levelEpoch;
    return level != NONE && wholeEpoch >= epoch - baseline + level;
  }

  /** Memory and disk of {@code epoch} are whole: its writes may go to the image. */
  void committed(long epoch, long baseline) {
    committedEpoch = epoch - baseline + levelEpoch;
  }

  /**
   * Ends receiving and makes this disk a primary's as of {@code epoch}; returns when the image holds exactly that, durably, under an
   * identifier of its own. The machine may run then.
   *
   * @throws IllegalStateException when this disk cannot be taken over from
   */
  PrimaryDisk promote(long epoch, long baseline) {
    StandbyDisk present = PrimaryDisk.make(thread, () -> java.util.Objects.requireNonNull(disk, "no disk was received"));
    long upTo = epoch - baseline + levelEpoch;
    if (!PrimaryDisk.make(thread, () -> promoting = present.promote(upTo))) {
      throw new IllegalStateException("the disk cannot be taken over at epoch " + epoch + ": " + present);
    }
    await(() -> present.isReadyToTakeOver() && front.isIdle(), "the disk's writes are not applied");
    PrimaryDisk now = PrimaryDisk.make(thread, () -> serve(present));
    now.awaitIdentity();
    return now;
  }

  private PrimaryDisk serve(StandbyDisk received) {
    MirroredDisk mirrored = received.takeOver(DiskFiles.identifier());
    front.switchTo(mirrored);
    mirrored.onCompletion(door.completions());
    disk = null;
    PrimaryDisk now = new PrimaryDisk(thread, turns, mirrored, door, options);
    taken = now;
    return now;
  }

  private void await(java.util.function.BooleanSupplier condition, String otherwise) {
    long giveUpAt = System.nanoTime() + PROMOTION_BOUND_NANOS;
    while (!PrimaryDisk.make(thread, condition::getAsBoolean)) {
      if (System.nanoTime() - giveUpAt > 0) {
        throw new IllegalStateException(otherwise + " within " + PROMOTION_BOUND_NANOS / 1_000_000_000L + " s");
      }
      LockSupport.parkNanos(20_000);
    }
  }

  // ---- reports

  /** The disk's part of {@code dyad status}. */
  Map<String, Object> report() {
    return PrimaryDisk.make(thread, this::describe);
  }

  private Map<String, Object> describe() {
    StandbyDisk present = disk;
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("image", options.image().toString());
    report.put("state", levelEpoch != NONE ? "LEVEL" : receiving ? "LEVELLING" : "WAITING");
    report.put("why", !refusal.isEmpty() ? refusal : present == null ? "" : present.reason());
    report.put("pendingWrites", present == null ? 0L : present.pendingWrites());
    return report;
  }

  /** Ends the disk, unless it was taken over: then it is its new owner's. */
  @Override
  public void close() {
    synchronized (this) {
      endHalves();
    }
    if (taken != null) {
      return;
    }
    if (thread.failure() == null) {
      thread.call(
          () -> {
            end();
            turns.end();
            door.close();
            front.close();
          });
    }
    thread.close();
  }
}
