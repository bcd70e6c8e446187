package dev.dyad.engine.net;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/**
 * The MAC and IP addresses that a guest's NIC goes by, as its own frames tell; what the standby announces after a promotion.
 *
 * <p>An address counts as <em>claimed</em> when ARP or neighbour discovery states it, and as <em>guessed</em> when it is the source
 * of a packet that no router has forwarded (its hop count is one of the usual first values). A guest that routes for others is
 * thus not announced as its neighbours. The least recently learned entry makes room when the table is full.
 *
 * <p>The net thread observes, without allocation, a few comparisons a frame; another thread encodes. A counter that is odd while
 * an entry changes tells the encoder to look again.
 *
 * <pre>
 * block, 512 bytes, little-endian       entry, 24 bytes
 *  0 u32 magic "DYDA"                    0 u8[6] MAC
 *  4 u16 version 1                       6 u8    family: 0 none, 4, 6
 *  6 u16 entries, at most 20             7 u8    1 claimed, 0 guessed
 *  8 u64 zero                            8 u8[16] address; IPv4 in the first four, the rest 0
 * 16 entries
 * </pre>
 */
public final class LearnedAddresses implements AutoCloseable {
  /** Size of the encoded form. */
  public static final int BLOCK_BYTES = 512;

  static final int ENTRY_BYTES = 24;
  static final int ENTRIES_MAX = 20;
  static final int FAMILY_NONE = 0;
  static final int FAMILY_IPV4 = 4;
  static final int FAMILY_IPV6 = 6;

  private static final int MAGIC = 0x41445944; // "DYDA"
  private static final short VERSION = 1;
  private static final int HEAD_BYTES = 16;
  private static final int ENCODE_ATTEMPTS_MAX = 64;

  private static final int ETHER_ARP = 0x0806;
  private static final int ETHER_IPV4 = 0x0800;
  private static final int ETHER_IPV6 = 0x86dd;
  private static final int ETHER_VLAN = 0x8100;

  private static final VarHandle CHANGES;

  static {
    try {
      CHANGES = MethodHandles.lookup().findVarHandle(LearnedAddresses.class, "changes", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private final Mapping memory = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final long block = memory.hostVirt();

  /** Odd while an entry changes. Written by the observer, read by the encoder. */
  private volatile long changes;

  // The observer's own.
  private int entries;
  private int oldest;
  private int last = -1;

  public LearnedAddresses() {
    Memory.putInt(block, MAGIC);
    Memory.putShort(block + 4, VERSION);
  }

  /**
   * Learns from one frame that the guest sent.
   *
   * @param frame address of its Ethernet header
   * @param bytes its length; anything too short to tell is ignored
   */
  public void observe(long frame, long bytes) {
    if (bytes < 14 || (Memory.getByte(frame + 6) & 1) != 0) {
      return;
    }
    int at = 12;
    int type = bigShort(frame + at);
    if (type == ETHER_VLAN) {
      return; // an address within a VLAN says nothing of the untagged network that the announcement would go to
    }
    at += 2;
    switch (type) {
      case ETHER_ARP -> arp(frame, frame + at, bytes - at);
      case ETHER_IPV4 -> ipv4(frame, frame + at, bytes - at);
      case ETHER_IPV6 -> ipv6(frame, frame + at, bytes - at);
      default -> learn(frame, FAMILY_NONE, false, 0, 0);
    }
  }

  private void arp(long frame, long arp, long bytes) {
    if (bytes < 28 || bigShort(arp) != 1 || bigShort(arp + 2) != ETHER_IPV4) {
      return;
    }
    learnIpv4(frame, Memory.getInt(arp + 14), true);
  }

  private void ipv4(long frame, long ip, long bytes) {
    if (bytes >= 20 && isFirstHop(Memory.getByte(ip + 8) & 0xff)) {
      learnIpv4(frame, Memory.getInt(ip + 12), false);
    }
  }

  private void learnIpv4(long frame, int address, boolean claimed) {
    int first = address & 0xff;
    if (address == 0 || first == 0 || first == 127 || first >= 224) {
      learn(frame, FAMILY_NONE, false, 0, 0);
    } else {
      learn(frame, FAMILY_IPV4, claimed, address & 0xffff_ffffL, 0);
    }
  }

  private void ipv6(long frame, long ip, long bytes) {
    if (bytes < 40) {
      return;
    }
    int hops = Memory.getByte(ip + 7) & 0xff;
    long high = Memory.getLong(ip + 8);
    long low = Memory.getLong(ip + 16);
    boolean icmp = (Memory.getByte(ip + 6) & 0xff) == 58 && bytes >= 64 && hops == 255;
    int kind = icmp ? Memory.getByte(ip + 40) & 0xff : 0;
    if (kind == 136) { // neighbour advertisement: its target is the address that is claimed
      learnIpv6(frame, Memory.getLong(ip + 48), Memory.getLong(ip + 56), true);
    } else if (isFirstHop(hops)) {
      learnIpv6(frame, high, low, kind == 135);
    }
  }

  private void learnIpv6(long frame, long high, long low, boolean claimed) {
    if (high == 0 || (high & 0xff) == 0xff) {
      learn(frame, FAMILY_NONE, false, 0, 0); // unspecified, loopback, multicast
    } else {
      learn(frame, FAMILY_IPV6, claimed, high, low);
    }
  }

  /** What hosts commonly start with: 64 (Unix), 128 (Windows), 255 (routers, neighbour discovery). */
  private static boolean isFirstHop(int hops) {
    return hops == 64 || hops == 128 || hops == 255;
  }

  private void learn(long frame, int family, boolean claimed, long high, long low) {
    // One word for MAC, family and claim, as in the entry: MAC in the lower six bytes.
    long mac = Memory.getLong(frame + 6) & 0xffff_ffff_ffffL;
    if (mac == 0) {
      return;
    }
    long key = mac | (long) family << 48;
    if (last >= 0 && matches(last, key, high, low)) {
      confirm(last, claimed);
      return;
    }
    for (int i = 0; i < entries; i++) {
      if (matches(i, key, high, low)) {
        last = i;
        confirm(i, claimed);
        return;
      }
    }
    int into = entries < ENTRIES_MAX ? entries : oldest;
    beginChange();
    long at = entry(into);
    Memory.putLong(at, key | (claimed ? 1L << 56 : 0));
    Memory.putLong(at + 8, high);
    Memory.putLong(at + 16, low);
    if (entries < ENTRIES_MAX) {
      entries++;
      Memory.putShort(block + 6, (short) entries);
    } else {
      oldest = (oldest + 1) % ENTRIES_MAX;
    }
    endChange();
    last = into;
  }

  private void beginChange() {
    CHANGES.setOpaque(this, changes + 1);
    VarHandle.fullFence(); // odd before any word of the entry
  }

  private void endChange() {
    CHANGES.setRelease(this, changes + 1);
  }

  private boolean matches(int index, long key, long high, long low) {
    long at = entry(index);
    return (Memory.getLong(at) & 0x00ff_ffff_ffff_ffffL) == key && Memory.getLong(at + 8) == high && Memory.getLong(at + 16) == low;
  }

  private void confirm(int index, boolean claimed) {
    if (claimed) {
      Memory.putByte(entry(index) + 7, (byte) 1); // one byte: no reader can see a half of it
    }
  }

  private long entry(int index) {
    return block + HEAD_BYTES + (long) index * ENTRY_BYTES;
  }

  private static int bigShort(long at) {
    return Short.reverseBytes(Memory.getShort(at)) & 0xffff;
  }

  /**
   * Writes the block. Any thread.
   *
   * @return false when the table changed at every attempt; what was written must not be used then
   */
  public boolean encode(long to) {
    for (int attempt = 0; attempt < ENCODE_ATTEMPTS_MAX; attempt++) {
      long before = (long) CHANGES.getAcquire(this);
      if ((before & 1) == 0) {
        Memory.copy(block, to, BLOCK_BYTES);
        VarHandle.acquireFence();
        if ((long) CHANGES.getOpaque(this) == before) {
          return true;
        }
      }
      Thread.onSpinWait();
    }
    return false;
  }

  /**
   * Takes over what another side learned; nothing is observed meanwhile.
   *
   * @param from {@link #BLOCK_BYTES} as {@link #encode} wrote them, perhaps by another host
   * @return what is wrong with them (nothing is taken over then), or null
   */
  public @Nullable String decode(long from) {
    if (Memory.getInt(from) != MAGIC) {
      return "learned addresses: magic " + Integer.toHexString(Memory.getInt(from)) + ", not " + Integer.toHexString(MAGIC);
    }
    if (Memory.getShort(from + 4) != VERSION) {
      return "learned addresses: version " + Memory.getShort(from + 4) + ", not " + VERSION;
    }
    int count = Memory.getShort(from + 6) & 0xffff;
    if (count > ENTRIES_MAX) {
      return "learned addresses: " + count + " entries, at most " + ENTRIES_MAX;
    }
    for (int i = 0; i < count; i++) {
      long at = from + HEAD_BYTES + (long) i * ENTRY_BYTES;
      int family = Memory.getByte(at + 6) & 0xff;
      int claimed = Memory.getByte(at + 7) & 0xff;
      if ((family != FAMILY_NONE && family != FAMILY_IPV4 && family != FAMILY_IPV6) || claimed > 1) {
        return "learned addresses: entry " + i + " has family " + family + " and claim " + claimed;
      }
    }
    beginChange();
    Memory.copy(from, block, BLOCK_BYTES);
    entries = count;
    oldest = 0;
    last = -1;
    endChange();
    return null;
  }

  /** Number of entries. The observer's thread, or when nothing is observed. */
  public int size() {
    return entries;
  }

  /** MAC in the lower six bytes, first byte lowest, as it lies in memory. */
  public long mac(int index) {
    return Memory.getLong(entry(index)) & 0xffff_ffff_ffffL;
  }

  /** 0 when only the MAC is known, 4 or 6. */
  public int family(int index) {
    return Memory.getByte(entry(index) + 6) & 0xff;
  }

  public boolean isClaimed(int index) {
    return Memory.getByte(entry(index) + 7) == 1;
  }

  /** Address of the 16 bytes of the IP address. */
  long ip(int index) {
    return entry(index) + 8;
  }

  @Override
  public void close() {
    memory.close();
  }
}
