package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.dyad_pages;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.Memory;

/** Payload of a PAGES frame: this head, then page records ({@link PageRecord}) to the end of the frame. */
public final class PagesFrame {
  public static final int BYTES = (int) dyad_pages.sizeof();

  /** The standby holds nothing yet: the records may be applied as they arrive. Also a flag of the SEAL. */
  public static final int BASELINE = wire_h.DYAD_PAGES_BASELINE();

  private static final long RECORDS_AT = dyad_pages.records$offset();
  private static final long FLAGS_AT = dyad_pages.flags$offset();

  private PagesFrame() {}

  public static void write(long payload, int records, int flags) {
    Memory.putInt(payload + RECORDS_AT, records);
    Memory.putInt(payload + FLAGS_AT, flags);
  }

  public static int records(long payload) {
    return Memory.getInt(payload + RECORDS_AT);
  }

  public static int flags(long payload) {
    return Memory.getInt(payload + FLAGS_AT);
  }
}
