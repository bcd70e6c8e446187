package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;
import org.jspecify.annotations.Nullable;

/**
 * What a primary's disk says to its standby's: every frame of that direction is written here, and counted for the epoch that is open, of
 * which the seal says how much it is. Owns the channel. Thread: disk.
 *
 * <p>Each frame is a return value: false, and nothing done, when there is no room now. Writes are told of a few at a time, since the standby can do nothing with them before
 * their seal.
 *
 * <p>Must never happen: a frame of an epoch after its seal; one that makes the epoch larger than the standby can keep apart.
 */
final class MirrorStream {
  /** Left free by what can wait, so that a seal always fits. */
  private static final int RESERVE = 32 << 10;

  private final MirrorConfig config;
  private @Nullable DiskChannel channel;
  private long epoch;
  private long frames;
  private long bytes;
  private long bytesMax;
  private boolean flushed;

  MirrorStream(MirrorConfig config, long firstEpoch) {
    this.config = config;
    epoch = firstEpoch;
  }

  void attach(DiskChannel newChannel) {
    channel = newChannel;
  }

  void close() {
    DiskChannel old = channel;
    if (old != null) {
      old.close();
      channel = null;
    }
  }

  /** The channel, null when there is no standby. */
  @Nullable DiskChannel channel() {
    return channel;
  }

  private DiskChannel present() {
    DiskChannel present = channel;
    if (present == null) {
      throw new IllegalStateException("a frame for a standby that is not there");
    }
    return present;
  }

  // ---- the open epoch

  long epoch() {
    return epoch;
  }

  /**
   * Frames count from here, within the epoch that is open.
   *
   * @param epochBytesMax what the standby takes for one epoch
   */
  void begin(long epochBytesMax) {
    bytesMax = epochBytesMax;
    frames = 0;
    bytes = 0;
  }

  /** The guest flushed in this epoch. */
  void flushed() {
    flushed = true;
  }

  /** Half of what an epoch may be is the early sign, from the byte on at which copies wait: what does not fit waits for the next one. */
  boolean isEpochLarge() {
    return bytes >= bytesMax / 2 || frames > config.logEntries() / 8;
  }

  /** Whether copied blocks may go, which leave half of the ring and of the epoch to the guest. */
  boolean hasRoomForCopies() {
    DiskChannel to = present();
    return to.room() > to.capacity() / 2 && bytes < bytesMax / 2;
  }

  /** Whether a seal that nobody waits for may go: it is no part of what the reserve is for. */
  boolean hasRoomForSeals() {
    return present().room() > RESERVE;
  }

  void endEpoch() {
    epoch++;
    frames = 0;
    bytes = 0;
    flushed = false;
  }

  // ---- frames

  boolean hello(DiskMetadata metadata, int decision) {
    DiskChannel to = present();
    int length = (int) dyad_disk_hello.sizeof();
    long at = to.begin(length, 0);
    if (at == 0) {
      return false;
    }
    DiskHello.write(at, metadata, 0, decision, 0);
    to.send(FrameType.DISK_HELLO, length, epoch);
    return true;
  }

  /** Whether {@link #change} would find room for such a request. */
  boolean hasRoomForChange(int op, long length) {
    if (frames >= config.logEntries() / 4) {
      return false;
    }
    if (op != BlockDevice.WRITE) {
      return present().fits((int) dyad_disk_clear.sizeof(), RESERVE);
    }
    return bytes + length <= bytesMax && present().fits((int) dyad_disk_write.sizeof() + (int) length, RESERVE);
  }

  /** A request that changes the disk. */
  boolean change(int op, long offset, long length, long hostVirt) {
    if (!hasRoomForChange(op, length)) {
      return false;
    }
    return op == BlockDevice.WRITE ? data(offset, (int) length, hostVirt) : clear(op, offset, length);
  }

  boolean data(long offset, int length, long hostVirt) {
    if (bytes + length > bytesMax) {
      return false;
    }
    DiskChannel to = present();
    int head = (int) dyad_disk_write.sizeof();
    long at = to.begin(head + length, RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_write.offset$offset(), offset);
    Memory.putInt(at + dyad_disk_write.bytes$offset(), length);
    Memory.putInt(at + dyad_disk_write.flags$offset(), 0);
    Memory.copy(hostVirt, at + head, length);
    to.sendLater(FrameType.DISK_WRITE, head + length, epoch);
    frames++;
    bytes += length;
    return true;
  }

  private boolean clear(int op, long offset, long length) {
    DiskChannel to = present();
    int frame = (int) dyad_disk_clear.sizeof();
    long at = to.begin(frame, RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_clear.offset$offset(), offset);
    Memory.putLong(at + dyad_disk_clear.bytes$offset(), length);
    Memory.putInt(at + dyad_disk_clear.flags$offset(), op == BlockDevice.ZEROES ? DYAD_DISK_CLEAR_KEEP() : 0);
    Memory.putInt(at + dyad_disk_clear.zero$offset(), 0);
    to.sendLater(FrameType.DISK_CLEAR, frame, epoch);
    frames++;
    return true;
  }

  /** Checksums of the blocks of a piece, to be compared there. */
  boolean sums(Resync resync, int piece, int blockBytes) {
    DiskChannel to = present();
    int count = resync.blockCount[piece];
    int head = (int) dyad_disk_sums.sizeof();
    int length = head + count * BlockSum.BYTES;
    long at = to.begin(length, RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_sums.offset$offset(), resync.offset(piece));
    Memory.putInt(at + dyad_disk_sums.blocks$offset(), count);
    Memory.putInt(at + dyad_disk_sums.flags$offset(), resync.kind[piece] == Resync.VERIFY ? DYAD_DISK_SUMS_VERIFY() : 0);
    for (int i = 0; i < count; i++) {
      long sum = at + head + (long) i * BlockSum.BYTES;
      BlockSum.of(resync.buffer(piece) + (long) i * blockBytes, blockBytes, resync.firstBlock[piece] + i, sum);
    }
    to.send(FrameType.DISK_SUMS, length, epoch);
    return true;
  }

  /** Asks for data in our image's place. */
  boolean read(long tag, long offset, int length) {
    DiskChannel to = present();
    int frame = (int) dyad_disk_read.sizeof();
    long at = to.begin(frame, RESERVE);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_read.tag$offset(), tag);
    Memory.putLong(at + dyad_disk_read.offset$offset(), offset);
    Memory.putInt(at + dyad_disk_read.bytes$offset(), length);
    Memory.putInt(at + dyad_disk_read.zero$offset(), 0);
    to.send(FrameType.DISK_READ, frame, epoch);
    return true;
  }

  /** Our image failed. */
  boolean failed(int error) {
    DiskChannel to = present();
    int length = (int) dyad_disk_state.sizeof();
    long at = to.begin(length, 0);
    if (at == 0) {
      return false;
    }
    Memory.putInt(at + dyad_disk_state.kind$offset(), DYAD_DISK_STATE_FAILED());
    Memory.putInt(at + dyad_disk_state.error$offset(), error);
    Memory.putLong(at + dyad_disk_state.epoch$offset(), epoch);
    to.send(FrameType.DISK_STATE, length, epoch);
    return true;
  }

  /** The end of the open epoch, with the requests that the guest has no answer to. */
  boolean seal(int flags, RequestTable requests) {
    DiskChannel to = present();
    int inFlight = requests.count();
    int recordBytes = (int) dyad_disk_request.sizeof();
    int length = (int) dyad_disk_seal.sizeof() + inFlight * recordBytes;
    long at = to.begin(length, 0);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_seal.frames$offset(), frames);
    Memory.putLong(at + dyad_disk_seal.bytes$offset(), bytes);
    Memory.putInt(at + dyad_disk_seal.flags$offset(), flags | (flushed ? DYAD_DISK_SEAL_FLUSHED() : 0));
    Memory.putInt(at + dyad_disk_seal.in_flight$offset(), inFlight);
    long record = at + dyad_disk_seal.sizeof();
    for (int slot = 0; slot < requests.capacity(); slot++) {
      if (requests.state[slot] != RequestTable.FREE) {
        Memory.putLong(record + dyad_disk_request.tag$offset(), requests.tag[slot]);
        Memory.putLong(record + dyad_disk_request.offset$offset(), requests.offset[slot]);
        Memory.putLong(record + dyad_disk_request.bytes$offset(), requests.bytes[slot]);
        Memory.putInt(record + dyad_disk_request.op$offset(), requests.op[slot]);
        Memory.putInt(record + dyad_disk_request.flags$offset(), requests.flags[slot]);
        record += recordBytes;
      }
    }
    to.send(FrameType.DISK_SEAL, length, epoch);
    return true;
  }
}
