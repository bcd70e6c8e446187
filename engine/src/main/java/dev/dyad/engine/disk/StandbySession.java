package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.Standing.Peer;

/**
 * A standby's disk from its coming to its going, as its primary sees it: takes the channel, hears what the standby says, gives it up with a
 * reason. Owned by a {@link MirroredDisk}. Thread: disk.
 */
final class StandbySession {
  private final DiskMetadata metadata;
  private final MirrorConfig config;
  private final int transferBytesMax;
  private final Standing standing;
  private final DifferenceMarks marks;
  private final MirrorStream stream;
  private final Resync resync;
  private final GuestRequests requests;
  private final Checkpoint checkpoint;
  private final PrimaryGreeting greeting;
  private long stalledSinceNanos = -1;
  private long nowNanos;

  StandbySession(
      DiskMetadata metadata,
      MirrorConfig config,
      int transferBytesMax,
      Standing standing,
      DifferenceMarks marks,
      MirrorStream stream,
      Resync resync,
      GuestRequests requests,
      Checkpoint checkpoint) {
    this.metadata = metadata;
    this.config = config;
    this.transferBytesMax = transferBytesMax;
    this.standing = standing;
    this.marks = marks;
    this.stream = stream;
    this.resync = resync;
    this.requests = requests;
    this.checkpoint = checkpoint;
    greeting = new PrimaryGreeting(metadata);
  }

  /** Moves bytes and takes what has come; the amount of work done. */
  int poll(long now) {
    nowNanos = now;
    DiskChannel to = stream.channel();
    if (to == null) {
      return 0;
    }
    int work = to.poll();
    receive();
    if (to == stream.channel() && !to.isUp()) {
      suspend(to.failure());
    }
    return work;
  }

  /** What is due after the guest's requests were looked at. */
  void serve(long now) {
    if (stream.channel() == null) {
      return;
    }
    if (standing.isFailureToTell() && stream.failed(standing.imageError())) {
      standing.failureTold();
    }
    if (!requests.isStalled() || !standing.isMirroring()) {
      stalledSinceNanos = -1;
    } else if (stalledSinceNanos < 0) {
      stalledSinceNanos = now;
    } else if (now - stalledSinceNanos > config.stallNanosMax()) {
      suspend("the standby's disk has made no room for " + config.stallNanosMax() / 1_000_000 + " ms");
    }
  }

  /** Hands over what was written since the turn began. */
  void push() {
    DiskChannel to = stream.channel();
    if (to != null) {
      to.poll();
    }
  }

  /** Names what wakes when there is something from the standby, or room. */
  void rest(DiskRest rest) {
    DiskChannel to = stream.channel();
    if (to != null) {
      to.rest(rest);
    }
  }

  /** Takes a channel to a standby's disk; it is owned from now on. */
  void attach(DiskChannel newChannel) {
    lose("");
    if (standing.isImageFailed()) {
      newChannel.close();
      standing.because(
          "the local image failed with " + Errno.name(-standing.imageError()) + ": replace it, or move the machine to the other host");
      return;
    }
    int frame = Math.max(config.pieceBytes(), transferBytesMax) + (int) dyad_disk_write.sizeof();
    if (newChannel.payloadBytesMax() < frame) {
      newChannel.close();
      standing.because("the disk's ring takes frames of " + newChannel.payloadBytesMax() + " bytes, needed are " + frame + ": give it more memory");
      return;
    }
    stream.attach(newChannel);
    greeting.begin();
    standing.become(Peer.GREETING);
    standing.because("");
  }

  /** Stops mirroring for a reason; what was not durable on the other side stays marked. */
  private void suspend(String why) {
    lose("protection of the disk suspended: " + why);
  }

  /** Goes on without a standby; an empty reason leaves the one that there was. */
  void lose(String why) {
    if (!why.isEmpty() && (standing.reason().isEmpty() || standing.peer() != Peer.NONE)) {
      standing.because(why);
    }
    stream.close();
    if (standing.isMirroring()) {
      marks.lost();
    }
    standing.become(Peer.NONE);
    standing.failureTold();
    checkpoint.abandon();
    stalledSinceNanos = -1;
    resync.stop();
    requests.standbyLost();
  }

  private DiskChannel channel() {
    DiskChannel present = stream.channel();
    if (present == null) {
      throw new IllegalStateException("no channel in state " + standing.peer());
    }
    return present;
  }

  private void receive() {
    DiskChannel from = stream.channel();
    while (from != null && from == stream.channel() && from.receive()) {
      long at = from.payload();
      boolean good =
          switch (from.type()) {
            case DISK_HELLO -> standing.peer() == Peer.GREETING && greeting.hello(at, from.length());
            case DISK_EXTENTS -> standing.peer() == Peer.GREETING && greeting.extents(at, from.length());
            case DISK_NEED -> onNeed(at, from.length());
            case DISK_DATA -> onData(at, from.length());
            case DISK_STATE -> onState(at, from.length());
            default -> false;
          };
      if (good && standing.peer() == Peer.GREETING && greeting.decision() != DYAD_DISK_DECISION_NONE()) {
        answerGreeting();
      }
      if (stream.channel() != from) {
        return;
      }
      if (!good) {
        suspend("the standby's disk sent a " + from.type() + " frame that does not fit");
        return;
      }
      from.consume();
    }
  }

  private void answerGreeting() {
    boolean told = stream.hello(metadata, greeting.decision());
    if (!greeting.refusal().isEmpty()) {
      channel().poll(); // so that it hears why
      lose(greeting.refusal());
      return;
    }
    if (!told) {
      suspend("the ring to the standby's disk is too small");
      return;
    }
    greeting.mark(marks.compare());
    standing.become(Peer.LEVELLING);
    stream.begin(greeting.epochBytesMax());
    resync.start(nowNanos);
  }

  private boolean onNeed(long at, int length) {
    int blocks = Memory.getInt(at + dyad_disk_need.blocks$offset());
    int words = (blocks + 63) / 64;
    int head = (int) dyad_disk_need.sizeof();
    if (blocks <= 0 || length != head + words * 8) {
      return false;
    }
    return resync.answered(Memory.getLong(at + dyad_disk_need.offset$offset()), blocks, words, at + head);
  }

  private boolean onData(long at, int length) {
    long tag = Memory.getLong(at + dyad_disk_data.tag$offset());
    int bytes = Memory.getInt(at + dyad_disk_data.bytes$offset());
    int error = Memory.getInt(at + dyad_disk_data.error$offset());
    int head = (int) dyad_disk_data.sizeof();
    return (error != 0 || (bytes >= 0 && bytes <= length - head)) && requests.answeredRemotely(tag, error, at + head, bytes);
  }

  private boolean onState(long at, int length) {
    if (length != dyad_disk_state.sizeof()) {
      return false;
    }
    int kind = Memory.getInt(at + dyad_disk_state.kind$offset());
    if (kind == DYAD_DISK_STATE_DURABLE()) {
      checkpoint.peerDurable(Memory.getLong(at + dyad_disk_state.epoch$offset()));
      return true;
    }
    if (kind == DYAD_DISK_STATE_FAILED()) {
      suspend("the standby's disk failed with " + Errno.name(-Memory.getInt(at + dyad_disk_state.error$offset())));
      return true;
    }
    return false;
  }

  /** The standby cannot know where the epoch ends. */
  void sealDidNotFit() {
    suspend(channel().isUp() ? "the ring to the standby's disk has no room for a seal" : channel().failure());
  }
}
