package dev.dyad.engine.link;

import dev.dyad.bindings.abi.wire.wire_h;

/** Which side of a session one is. */
public enum Role {
  PRIMARY(wire_h.DYAD_ROLE_PRIMARY()),
  STANDBY(wire_h.DYAD_ROLE_STANDBY());

  private final int code;

  Role(int code) {
    this.code = code;
  }

  int code() {
    return code;
  }
}
