package dev.dyad.engine.link;

import dev.dyad.bindings.abi.wire.wire_h;
import org.jspecify.annotations.Nullable;

/** What a connection's ring carries. A session may have one connection of each. */
public enum Channel {
  MEMORY(wire_h.DYAD_CHANNEL_MEMORY()),
  DISK(wire_h.DYAD_CHANNEL_DISK()),

  /** The disk's ring whose sender is the standby, although the primary calls. */
  DISK_BACK(wire_h.DYAD_CHANNEL_DISK_BACK());

  private final int code;

  Channel(int code) {
    this.code = code;
  }

  int code() {
    return code;
  }

  /** Its number in messages. */
  public int wireCode() {
    return code;
  }

  static @Nullable Channel of(int code) {
    for (Channel channel : values()) {
      if (channel.code == code) {
        return channel;
      }
    }
    return null;
  }
}
