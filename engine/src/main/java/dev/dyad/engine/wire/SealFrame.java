package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_seal;
import dev.dyad.bindings.linux.Memory;

/** Payload of a SEAL frame: the end of an epoch and the totals that make it whole. */
public final class SealFrame {
  public static final int BYTES = (int) dyad_seal.sizeof();

  private static final long PAGES_AT = dyad_seal.pages$offset();
  private static final long BYTES_AT = dyad_seal.bytes$offset();
  private static final long FRAMES_AT = dyad_seal.frames$offset();
  private static final long SENT_NANOS_AT = dyad_seal.sent_nanos$offset();
  private static final long STATE_BYTES_AT = dyad_seal.state_bytes$offset();
  private static final long FLAGS_AT = dyad_seal.flags$offset();

  private SealFrame() {}

  /**
   * @param pages over all records of the epoch
   * @param bytes of payload in its PAGES frames
   * @param frames number of its PAGES frames
   * @param sentNanos the primary's monotonic clock
   * @param stateBytes how much of the state block is used
   * @param flags {@link PagesFrame#BASELINE} or 0
   */
  public static void write(long payload, long pages, long bytes, long frames, long sentNanos, int stateBytes, int flags) {
    Memory.putLong(payload + PAGES_AT, pages);
    Memory.putLong(payload + BYTES_AT, bytes);
    Memory.putLong(payload + FRAMES_AT, frames);
    Memory.putLong(payload + SENT_NANOS_AT, sentNanos);
    Memory.putInt(payload + STATE_BYTES_AT, stateBytes);
    Memory.putInt(payload + FLAGS_AT, flags);
  }

  public static long pages(long payload) {
    return Memory.getLong(payload + PAGES_AT);
  }

  public static long bytes(long payload) {
    return Memory.getLong(payload + BYTES_AT);
  }

  public static long frames(long payload) {
    return Memory.getLong(payload + FRAMES_AT);
  }

  public static long sentNanos(long payload) {
    return Memory.getLong(payload + SENT_NANOS_AT);
  }

  /** Unsigned on the wire; negative here means 2 GiB or more. */
  public static int stateBytes(long payload) {
    return Memory.getInt(payload + STATE_BYTES_AT);
  }

  public static int flags(long payload) {
    return Memory.getInt(payload + FLAGS_AT);
  }
}
