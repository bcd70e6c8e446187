package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.wire_h;

/**
 * The word that a page record starts with.
 *
 * <pre>
 *   63                          28 27  24 23               0
 *   | number of the (first) page   | kind | n               |
 * </pre>
 *
 * n counts pages, for a DELTA the bytes of its body. Bodies: {@code native-headers/dyad_wire.h}.
 */
public final class PageRecord {
  public static final int BYTES = Long.BYTES;

  public static final int ZERO = wire_h.DYAD_RECORD_ZERO();
  public static final int SAME = wire_h.DYAD_RECORD_SAME();
  public static final int RAW = wire_h.DYAD_RECORD_RAW();
  public static final int DELTA = wire_h.DYAD_RECORD_DELTA();

  public static final int N_MAX = wire_h.DYAD_RECORD_N_MAX();
  public static final int DELTA_BYTES_MAX = wire_h.DYAD_DELTA_BYTES_MAX();

  private static final int PAGE_SHIFT = wire_h.DYAD_RECORD_PAGE_SHIFT();
  private static final int KIND_SHIFT = wire_h.DYAD_RECORD_KIND_SHIFT();
  private static final int KIND_MASK = (1 << (PAGE_SHIFT - KIND_SHIFT)) - 1;

  private PageRecord() {}

  public static long word(long page, int kind, int n) {
    return page << PAGE_SHIFT | (long) kind << KIND_SHIFT | n;
  }

  public static long page(long word) {
    return word >>> PAGE_SHIFT;
  }

  public static int kind(long word) {
    return (int) (word >>> KIND_SHIFT) & KIND_MASK;
  }

  public static int n(long word) {
    return (int) word & N_MAX;
  }
}
