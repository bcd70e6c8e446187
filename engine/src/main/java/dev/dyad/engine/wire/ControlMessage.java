package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_control;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.Memory;

/** A message of {@link #BYTES} bytes from the standby to the primary, at an address. */
public final class ControlMessage {
  public static final int BYTES = (int) dyad_control.sizeof();

  private static final int MAGIC = wire_h.DYAD_CONTROL_MAGIC();
  private static final long MAGIC_AT = dyad_control.magic$offset();
  private static final long CRC_AT = dyad_control.crc32c$offset();
  private static final long VERSION_AT = dyad_control.version$offset();
  private static final long TYPE_AT = dyad_control.type$offset();
  private static final long REASON_AT = dyad_control.reason$offset();
  private static final long GENERATION_AT = dyad_control.generation$offset();
  private static final long EPOCH_AT = dyad_control.epoch$offset();
  private static final long ECHO_NANOS_AT = dyad_control.echo_nanos$offset();
  private static final long FOUND_AT = dyad_control.found$offset();
  private static final long NEEDED_AT = dyad_control.needed$offset();
  private static final long SEQUENCE_AT = dyad_control.sequence$offset();

  private ControlMessage() {}

  /** Writes a whole message, checksum included. */
  public static void write(
      long message, ControlType type, long sequence, long generation, long epoch, long echoNanos, Reason reason, long found, long needed) {
    Memory.putInt(message + MAGIC_AT, MAGIC);
    Memory.putShort(message + VERSION_AT, (short) Wire.VERSION);
    Memory.putShort(message + TYPE_AT, (short) type.code());
    Memory.putInt(message + REASON_AT, reason.code());
    Memory.putLong(message + GENERATION_AT, generation);
    Memory.putLong(message + EPOCH_AT, epoch);
    Memory.putLong(message + ECHO_NANOS_AT, echoNanos);
    Memory.putLong(message + FOUND_AT, found);
    Memory.putLong(message + NEEDED_AT, needed);
    Memory.putLong(message + SEQUENCE_AT, sequence);
    Memory.putInt(message + CRC_AT, crcOf(message));
  }

  /** {@link Reason#NONE}, or why this is not message {@code sequence} of {@code generation}. */
  public static Reason check(long message, long generation, long sequence) {
    if (Memory.getInt(message + MAGIC_AT) != MAGIC) {
      return Reason.MAGIC;
    }
    if (Short.toUnsignedInt(Memory.getShort(message + VERSION_AT)) != Wire.VERSION) {
      return Reason.VERSION;
    }
    if (Memory.getInt(message + CRC_AT) != crcOf(message)) {
      return Reason.CRC;
    }
    if (ControlType.of(typeCode(message)) == null) {
      return Reason.TYPE;
    }
    if (generation(message) != generation) {
      return Reason.GENERATION;
    }
    return Memory.getLong(message + SEQUENCE_AT) == sequence ? Reason.NONE : Reason.SEQUENCE;
  }

  private static int crcOf(long message) {
    return Crc32c.ofSmall(message + VERSION_AT, BYTES - (int) VERSION_AT);
  }

  /** Code of a {@link ControlType}. */
  public static int typeCode(long message) {
    return Short.toUnsignedInt(Memory.getShort(message + TYPE_AT));
  }

  public static int reason(long message) {
    return Memory.getInt(message + REASON_AT);
  }

  public static long generation(long message) {
    return Memory.getLong(message + GENERATION_AT);
  }

  public static long epoch(long message) {
    return Memory.getLong(message + EPOCH_AT);
  }

  public static long echoNanos(long message) {
    return Memory.getLong(message + ECHO_NANOS_AT);
  }

  public static long found(long message) {
    return Memory.getLong(message + FOUND_AT);
  }

  public static long needed(long message) {
    return Memory.getLong(message + NEEDED_AT);
  }
}
