package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_reason;
import dev.dyad.bindings.linux.Memory;

/** Payload of a REFUSE or BYE frame. */
public final class ReasonFrame {
  public static final int BYTES = (int) dyad_reason.sizeof();

  private static final long REASON_AT = dyad_reason.reason$offset();
  private static final long ZERO_AT = dyad_reason.zero$offset();
  private static final long FOUND_AT = dyad_reason.found$offset();
  private static final long NEEDED_AT = dyad_reason.needed$offset();

  private ReasonFrame() {}

  public static void write(long payload, Reason reason, long found, long needed) {
    Memory.putInt(payload + REASON_AT, reason.code());
    Memory.putInt(payload + ZERO_AT, 0);
    Memory.putLong(payload + FOUND_AT, found);
    Memory.putLong(payload + NEEDED_AT, needed);
  }

  /** Code of a {@link Reason}, or one that we do not know. */
  public static int reason(long payload) {
    return Memory.getInt(payload + REASON_AT);
  }

  public static long found(long payload) {
    return Memory.getLong(payload + FOUND_AT);
  }

  public static long needed(long payload) {
    return Memory.getLong(payload + NEEDED_AT);
  }
}
