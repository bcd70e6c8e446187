package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.wire_h;

/** Numbers of the wire format under Java names; their one definition is {@code native-headers/dyad_wire.h}. */
public final class Wire {
  public static final int VERSION = wire_h.DYAD_WIRE_VERSION();

  /** Every frame starts and ends on a multiple of this. */
  public static final int ALIGN = wire_h.DYAD_FRAME_ALIGN();

  /** Bound of a frame's payload, whatever the ring's size. */
  public static final int PAYLOAD_BYTES_MAX = wire_h.DYAD_FRAME_PAYLOAD_MAX();

  public static final int PAGE_BYTES = wire_h.DYAD_PAGE_BYTES();
  public static final long RING_BYTES_MIN = wire_h.DYAD_RING_BYTES_MIN();
  public static final long RING_BYTES_MAX = wire_h.DYAD_RING_BYTES_MAX();
  public static final int BLOCKS_MAX = wire_h.DYAD_BLOCKS_MAX();
  public static final int BLOCK_NAME_BYTES_MAX = wire_h.DYAD_BLOCK_NAME_MAX();

  private Wire() {}

  /** Bytes of the largest payload that a frame in a ring of {@code ringBytes} may have: four such frames always fit the ring. */
  public static int payloadBytesMax(long ringBytes) {
    return (int) Math.min(PAYLOAD_BYTES_MAX, ringBytes / 4 - FrameHeader.BYTES);
  }

  /** {@code bytes}, rounded up to the next multiple of {@link #ALIGN}. */
  public static int aligned(int bytes) {
    return (bytes + ALIGN - 1) & -ALIGN;
  }

  /** Whether {@code bytes} may be the size of a ring. */
  public static boolean isRingSize(long bytes) {
    return bytes >= RING_BYTES_MIN && bytes <= RING_BYTES_MAX && Long.bitCount(bytes) == 1;
  }
}
