package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.wire_h;
import org.jspecify.annotations.Nullable;

/** What a control message says. */
public enum ControlType {
  /** The standby has built its machine and takes pages. */
  READY(wire_h.DYAD_CONTROL_READY()),
  /** Every epoch up to this one is whole at the standby. */
  ACK(wire_h.DYAD_CONTROL_ACK()),
  /** The answer to a heartbeat. */
  ECHO(wire_h.DYAD_CONTROL_ECHO()),
  /** The standby leaves in good order. */
  BYE(wire_h.DYAD_CONTROL_BYE()),
  /** The standby cannot take what it got. */
  REFUSE(wire_h.DYAD_CONTROL_REFUSE());

  private static final @Nullable ControlType[] BY_CODE = new @Nullable ControlType[8];

  static {
    for (ControlType type : values()) {
      BY_CODE[type.code] = type;
    }
  }

  private final int code;

  ControlType(int code) {
    this.code = code;
  }

  public int code() {
    return code;
  }

  /** The type with this code, or null. */
  public static @Nullable ControlType of(int code) {
    return code >= 0 && code < BY_CODE.length ? BY_CODE[code] : null;
  }
}
