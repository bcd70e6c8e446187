package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.dyad_disk_state;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;

/** What a standby's disk has to tell the primary when there is room: what became durable, that it failed. Owned by a {@link StandbyDisk}. Thread: disk. */
final class StandbyReport {
  private static final long NONE = ReceivedEpochs.NONE;

  private long durable = NONE;
  private int error;
  private boolean failed;

  void durable(long epoch) {
    durable = epoch;
  }

  void failed(int withError) {
    error = withError;
    failed = true;
  }

  /** One frame, a failure first. */
  void turn(DiskChannel channel, long sealed) {
    if (failed && send(channel, DYAD_DISK_STATE_FAILED(), error, sealed, sealed)) {
      failed = false;
    } else if (!failed && durable != NONE && send(channel, DYAD_DISK_STATE_DURABLE(), 0, durable, sealed)) {
      durable = NONE;
    }
  }

  private static boolean send(DiskChannel channel, int kind, int withError, long epoch, long sealed) {
    int length = (int) dyad_disk_state.sizeof();
    long at = channel.begin(length, 0);
    if (at == 0) {
      return false;
    }
    Memory.putInt(at + dyad_disk_state.kind$offset(), kind);
    Memory.putInt(at + dyad_disk_state.error$offset(), withError);
    Memory.putLong(at + dyad_disk_state.epoch$offset(), epoch);
    channel.send(FrameType.DISK_STATE, length, sealed);
    return true;
  }
}
