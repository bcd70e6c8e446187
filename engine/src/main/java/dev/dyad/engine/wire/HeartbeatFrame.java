package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_heartbeat;
import dev.dyad.bindings.linux.Memory;

/** Payload of a HEARTBEAT frame. */
public final class HeartbeatFrame {
  public static final int BYTES = (int) dyad_heartbeat.sizeof();

  private static final long SENT_NANOS_AT = dyad_heartbeat.sent_nanos$offset();

  private HeartbeatFrame() {}

  /**
   * @param sentNanos the primary's monotonic clock, given back in the echo
   */
  public static void write(long payload, long sentNanos) {
    Memory.putLong(payload + SENT_NANOS_AT, sentNanos);
  }

  public static long sentNanos(long payload) {
    return Memory.getLong(payload + SENT_NANOS_AT);
  }
}
