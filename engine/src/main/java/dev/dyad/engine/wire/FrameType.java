package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.wire_h;
import org.jspecify.annotations.Nullable;

/** What a frame is. Codes and meaning: {@code native-headers/dyad_wire.h}. */
public enum FrameType {
  HELLO(wire_h.DYAD_FRAME_HELLO()),
  CHALLENGE(wire_h.DYAD_FRAME_CHALLENGE()),
  PROOF(wire_h.DYAD_FRAME_PROOF()),
  ACCEPT(wire_h.DYAD_FRAME_ACCEPT()),
  REFUSE(wire_h.DYAD_FRAME_REFUSE()),
  MEMORY(wire_h.DYAD_FRAME_MEMORY()),
  PAGES(wire_h.DYAD_FRAME_PAGES()),
  SEAL(wire_h.DYAD_FRAME_SEAL()),
  HEARTBEAT(wire_h.DYAD_FRAME_HEARTBEAT()),
  BYE(wire_h.DYAD_FRAME_BYE()),
  MACHINE(wire_h.DYAD_FRAME_MACHINE()),
  DISK_HELLO(wire_h.DYAD_FRAME_DISK_HELLO()),
  DISK_WRITE(wire_h.DYAD_FRAME_DISK_WRITE()),
  DISK_CLEAR(wire_h.DYAD_FRAME_DISK_CLEAR()),
  DISK_SEAL(wire_h.DYAD_FRAME_DISK_SEAL()),
  DISK_EXTENTS(wire_h.DYAD_FRAME_DISK_EXTENTS()),
  DISK_SUMS(wire_h.DYAD_FRAME_DISK_SUMS()),
  DISK_NEED(wire_h.DYAD_FRAME_DISK_NEED()),
  DISK_READ(wire_h.DYAD_FRAME_DISK_READ()),
  DISK_DATA(wire_h.DYAD_FRAME_DISK_DATA()),
  DISK_STATE(wire_h.DYAD_FRAME_DISK_STATE());

  private static final int CODES = 256;
  private static final @Nullable FrameType[] BY_CODE = new @Nullable FrameType[CODES];

  static {
    for (FrameType type : values()) {
      BY_CODE[type.code] = type;
    }
  }

  private final int code;

  FrameType(int code) {
    this.code = code;
  }

  public int code() {
    return code;
  }

  /** The type with this code, or null. */
  public static @Nullable FrameType of(int code) {
    return code >= 0 && code < CODES ? BY_CODE[code] : null;
  }
}
