package dev.dyad.bindings.uring;

/**
 * The long that travels with a request and comes back with its completion: what was asked (8 bits), which slot of its owner's
 * table (24 bits), and the slot's use count (32 bits) by which a completion that comes late, after a cancel, is told from its successor.
 */
public final class UserData {
  public static final int SLOT_MAX = (1 << 24) - 1;

  private UserData() {}

  public static long pack(int kind, int slot, int use) {
    return ((long) (kind & 0xff) << 56) | ((long) (slot & SLOT_MAX) << 32) | (use & 0xffff_ffffL);
  }

  public static int kind(long userData) {
    return (int) (userData >>> 56);
  }

  public static int slot(long userData) {
    return (int) (userData >>> 32) & SLOT_MAX;
  }

  public static int use(long userData) {
    return (int) userData;
  }
}
