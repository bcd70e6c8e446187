package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_frame;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.Memory;

/**
 * The head of a frame at an address.
 *
 * <pre>
 *   0        4        8       10     12       16           24      32         40
 *   | magic  | crc32c | version| type | length | generation | epoch | sequence | payload ...
 *                     |&lt;--------------------- covered by crc32c -----------------------|
 * </pre>
 */
public final class FrameHeader {
  public static final int BYTES = (int) dyad_frame.sizeof();
  public static final int MAGIC = wire_h.DYAD_FRAME_MAGIC();

  private static final long MAGIC_AT = dyad_frame.magic$offset();
  private static final long CRC_AT = dyad_frame.crc32c$offset();
  private static final long VERSION_AT = dyad_frame.version$offset();
  private static final long TYPE_AT = dyad_frame.type$offset();
  private static final long LENGTH_AT = dyad_frame.length$offset();
  private static final long GENERATION_AT = dyad_frame.generation$offset();
  private static final long EPOCH_AT = dyad_frame.epoch$offset();
  private static final long SEQUENCE_AT = dyad_frame.sequence$offset();

  private FrameHeader() {}

  public static int magic(long frame) {
    return Memory.getInt(frame + MAGIC_AT);
  }

  public static int crc(long frame) {
    return Memory.getInt(frame + CRC_AT);
  }

  public static int version(long frame) {
    return Short.toUnsignedInt(Memory.getShort(frame + VERSION_AT));
  }

  public static int type(long frame) {
    return Short.toUnsignedInt(Memory.getShort(frame + TYPE_AT));
  }

  /** Bytes of payload as the frame says; negative when it claims 2 GiB or more. */
  public static int length(long frame) {
    return Memory.getInt(frame + LENGTH_AT);
  }

  public static long generation(long frame) {
    return Memory.getLong(frame + GENERATION_AT);
  }

  public static long epoch(long frame) {
    return Memory.getLong(frame + EPOCH_AT);
  }

  public static long sequence(long frame) {
    return Memory.getLong(frame + SEQUENCE_AT);
  }

  public static long payload(long frame) {
    return frame + BYTES;
  }

  /** Writes everything but the checksum, which comes last: {@link #close}. */
  public static void write(long frame, FrameType type, int length, long generation, long epoch, long sequence) {
    Memory.putInt(frame + MAGIC_AT, MAGIC);
    Memory.putInt(frame + CRC_AT, 0);
    Memory.putShort(frame + VERSION_AT, (short) Wire.VERSION);
    Memory.putShort(frame + TYPE_AT, (short) type.code());
    Memory.putInt(frame + LENGTH_AT, length);
    Memory.putLong(frame + GENERATION_AT, generation);
    Memory.putLong(frame + EPOCH_AT, epoch);
    Memory.putLong(frame + SEQUENCE_AT, sequence);
  }

  /** Checksums a frame whose payload is written. */
  public static void close(long frame, Crc32c crc) {
    Memory.putInt(frame + CRC_AT, crc.of(frame + VERSION_AT, BYTES - (int) VERSION_AT + length(frame)));
  }

  /** The same for a frame outside of any region. */
  public static void close(long frame) {
    Memory.putInt(frame + CRC_AT, Crc32c.ofSmall(frame + VERSION_AT, BYTES - (int) VERSION_AT + length(frame)));
  }

  /** What the checksum of this frame should be; its length must have been checked. */
  static int crcNeeded(long frame, Crc32c crc) {
    return crc.of(frame + VERSION_AT, BYTES - (int) VERSION_AT + length(frame));
  }
}
