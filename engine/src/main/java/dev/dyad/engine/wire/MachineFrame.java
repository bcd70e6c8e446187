package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_machine;
import dev.dyad.bindings.linux.Memory;

/** Payload of a MACHINE frame: what the standby needs to build a machine like the primary's. Cold code. */
public final class MachineFrame {
  public static final int BYTES = (int) dyad_machine.sizeof();

  private static final long KIND_AT = dyad_machine.kind$offset();
  private static final long BYTES_AT = dyad_machine.bytes$offset();

  private MachineFrame() {}

  /** Writes head, description and its padding: {@code BYTES + Wire.aligned(description.length)} bytes. */
  public static void write(long payload, int kind, byte[] description) {
    Memory.putInt(payload + KIND_AT, kind);
    Memory.putInt(payload + BYTES_AT, description.length);
    if (description.length % Wire.ALIGN != 0) {
      Memory.putLong(payload + BYTES + Wire.aligned(description.length) - Wire.ALIGN, 0);
    }
    Memory.copyFrom(description, 0, payload + BYTES, description.length);
  }

  /** {@link Reason#NONE}, or {@link Reason#TRUNCATED} when the description does not fill the payload. */
  public static Reason check(long payload, int length) {
    if (length < BYTES) {
      return Reason.TRUNCATED;
    }
    int bytes = Memory.getInt(payload + BYTES_AT);
    if (bytes < 0 || bytes > length - BYTES || Wire.aligned(bytes) != length - BYTES) {
      return Reason.TRUNCATED;
    }
    for (int i = bytes; i < length - BYTES; i++) {
      if (Memory.getByte(payload + BYTES + i) != 0) {
        return Reason.ZERO_FIELD;
      }
    }
    return Reason.NONE;
  }

  public static int kind(long payload) {
    return Memory.getInt(payload + KIND_AT);
  }

  public static byte[] description(long payload) {
    byte[] description = new byte[Memory.getInt(payload + BYTES_AT)];
    Memory.copyTo(payload + BYTES, description, 0, description.length);
    return description;
  }
}
