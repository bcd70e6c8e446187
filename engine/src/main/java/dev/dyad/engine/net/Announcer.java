package dev.dyad.engine.net;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * Tells the network after a promotion where the guest's addresses are now, so that switches and neighbours do not go on sending to
 * the old port.
 *
 * <p>For each IPv4 address a gratuitous ARP request and reply (RFC 5227, 5944: neighbours differ in which one they heed), for each IPv6
 * address an unsolicited neighbour advertisement with the override flag (RFC 4861, 7.2.6), for a MAC without any address a
 * RARP request, which no host answers but every switch learns from. Guessed IPv4 addresses are announced only for a MAC
 * without a claimed one.
 *
 * <p>Builds the frames once, in wire form; the net thread sends them through {@link HeldOutput#insert} so that they never
 * fall into the middle of another frame. The caller repeats at {@link #REPEAT_AFTER_MILLIS}: a bridge port that has just come up
 * may lose the first.
 */
public final class Announcer implements AutoCloseable {
  /** When to send, after the promotion. */
  public static final int[] REPEAT_AFTER_MILLIS = {0, 50, 200, 500, 1000};

  private static final int ARP_FRAME_BYTES = 60; // Ethernet's minimum, without checksum
  private static final int NA_FRAME_BYTES = 14 + 40 + 32;
  private static final int FRAMES_MAX = 3 * LearnedAddresses.ENTRIES_MAX;

  /** Ten zero bytes, and two more for merged buffers: the longest virtio-net header; "nothing to offload". */
  private static final int VIRTIO_HEADER_BYTES_MAX = 12;

  private final Mapping memory = Mapping.anonymous(4L * Mapping.PAGE_BYTES);
  private final int prefixBytes;
  private final int headerBytes;
  private int bytes;
  private int frames;

  /**
   * @param learned what the guest went by on the primary; read now, not kept
   * @param prefixBytes the port's, {@link PacketPort#prefixBytes()}
   * @param headerBytes length of the virtio-net header that frames on that port start with: 0, 10 or 12
   */
  public Announcer(LearnedAddresses learned, int prefixBytes, int headerBytes) {
    if (headerBytes < 0 || headerBytes > VIRTIO_HEADER_BYTES_MAX) {
      throw new IllegalArgumentException("virtio-net header of " + headerBytes + " bytes");
    }
    long most = (long) FRAMES_MAX * (prefixBytes + headerBytes + NA_FRAME_BYTES);
    if (most > memory.bytes()) {
      throw new IllegalStateException("announcement of " + most + " bytes");
    }
    this.prefixBytes = prefixBytes;
    this.headerBytes = headerBytes;
    for (int i = 0; i < learned.size(); i++) {
      build(learned, i);
    }
  }

  private void build(LearnedAddresses learned, int index) {
    long mac = learned.mac(index);
    switch (learned.family(index)) {
      case LearnedAddresses.FAMILY_IPV4 -> {
        if (learned.isClaimed(index) || !hasClaimed(learned, mac)) {
          int ip = Memory.getInt(learned.ip(index));
          arp(0x0806, 1, mac, ip, 0, ip);
          arp(0x0806, 2, mac, ip, 0xffff_ffff_ffffL, ip);
        }
      }
      case LearnedAddresses.FAMILY_IPV6 -> advertise(mac, learned.ip(index));
      default -> {
        if (!hasAddress(learned, mac)) {
          arp(0x8035, 3, mac, 0, mac, 0);
        }
      }
    }
  }

  private static boolean hasClaimed(LearnedAddresses learned, long mac) {
    for (int i = 0; i < learned.size(); i++) {
      if (learned.mac(i) == mac && learned.family(i) == LearnedAddresses.FAMILY_IPV4 && learned.isClaimed(i)) {
        return true;
      }
    }
    return false;
  }

  private static boolean hasAddress(LearnedAddresses learned, long mac) {
    for (int i = 0; i < learned.size(); i++) {
      if (learned.mac(i) == mac && learned.family(i) != LearnedAddresses.FAMILY_NONE) {
        return true;
      }
    }
    return false;
  }

  /** ARP, or RARP by another type: RFC 826, 903. */
  private void arp(int type, int operation, long mac, int senderIp, long targetMac, int targetIp) {
    long at = frame(ARP_FRAME_BYTES);
    putMac(at, 0xffff_ffff_ffffL);
    putMac(at + 6, mac);
    putBig(at + 12, type);
    putBig(at + 14, 1);
    putBig(at + 16, 0x0800);
    Memory.putByte(at + 18, (byte) 6);
    Memory.putByte(at + 19, (byte) 4);
    putBig(at + 20, operation);
    putMac(at + 22, mac);
    Memory.putInt(at + 28, senderIp);
    putMac(at + 32, targetMac);
    Memory.putInt(at + 38, targetIp);
  }

  /** Unsolicited neighbour advertisement to all nodes, override set: RFC 4861, 4.4. */
  private void advertise(long mac, long address) {
    long at = frame(NA_FRAME_BYTES);
    putMac(at, 0x0100_0000_3333L); // 33:33:00:00:00:01
    putMac(at + 6, mac);
    putBig(at + 12, 0x86dd);
    long ip = at + 14;
    Memory.putByte(ip, (byte) 0x60);
    putBig(ip + 4, 32);
    Memory.putByte(ip + 6, (byte) 58);
    Memory.putByte(ip + 7, (byte) 255);
    Memory.copy(address, ip + 8, 16);
    Memory.putByte(ip + 24, (byte) 0xff); // ff02::1
    Memory.putByte(ip + 25, (byte) 0x02);
    Memory.putByte(ip + 39, (byte) 0x01);
    long icmp = ip + 40;
    Memory.putByte(icmp, (byte) 136);
    Memory.putByte(icmp + 4, (byte) 0x20);
    Memory.copy(address, icmp + 8, 16);
    Memory.putByte(icmp + 24, (byte) 2); // option: target link-layer address, one unit of 8 bytes
    Memory.putByte(icmp + 25, (byte) 1);
    putMac(icmp + 26, mac);
    putBig(icmp + 2, checksum(ip));
  }

  /** Internet checksum over the pseudo header (addresses, length 32, next header 58) and the message: RFC 8200, 8.1. */
  private static int checksum(long ip) {
    int sum = 32 + 58;
    for (int i = 8; i < 40 + 32; i += 2) {
      sum += Short.reverseBytes(Memory.getShort(ip + i)) & 0xffff;
    }
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    return ~sum & 0xffff;
  }

  private long frame(int frameBytes) {
    long at = memory.hostVirt() + bytes;
    Memory.putInt(at, Integer.reverseBytes(headerBytes + frameBytes));
    if (prefixBytes == 8) {
      Memory.putInt(at + 4, Integer.reverseBytes(headerBytes));
    }
    bytes += prefixBytes + headerBytes + frameBytes;
    frames++;
    return at + prefixBytes + headerBytes;
  }

  private static void putMac(long at, long mac) {
    Memory.putInt(at, (int) mac);
    Memory.putShort(at + 4, (short) (mac >>> 32));
  }

  private static void putBig(long at, int value) {
    Memory.putShort(at, Short.reverseBytes((short) value));
  }

  /** Address of the frames in wire form. */
  public long wire() {
    return memory.hostVirt();
  }

  /** Their length together; 0 when nothing was learned. */
  public int wireBytes() {
    return bytes;
  }

  public int frames() {
    return frames;
  }

  @Override
  public void close() {
    memory.close();
  }
}
