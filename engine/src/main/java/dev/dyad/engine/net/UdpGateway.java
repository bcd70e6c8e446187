package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.AF_INET;
import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EBADF;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.ENOBUFS;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_TRUNC;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_DGRAM;

import dev.dyad.bindings.abi.linux.sockaddr_in;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import java.net.InetSocketAddress;

/**
 * The outside of a guest without a network of its own: one UDP port of this host is one UDP port of the guest. Needs no privilege.
 *
 * <pre>
 *   client 127.0.0.1:40000 --datagram--&gt; socket 127.0.0.1:11211   =&gt;   frame 10.77.0.1:40000 -&gt; 10.77.0.2:11211
 *   client 127.0.0.1:40000 &lt;--datagram-- socket                   &lt;=   frame 10.77.0.2:11211 -&gt; 10.77.0.1:40000
 * </pre>
 *
 * <p>Keeps nothing about clients: a client's address stands in the frames (10.77.0.1 for 127.0.0.1, every other as it is). So a
 * gateway on the other host, bound to the same port after a take-over, goes on where this one ended, replies to requests of before
 * included. ARP for 10.77.0.1 is answered: the request goes through the socket to itself, since all that the net thread waits for is that
 * socket. Other frames are lost and counted, as are datagrams that do not fit a frame of 1,500 bytes.
 *
 * <p>The net thread receives, whoever releases sends. Owns the socket; its port may be taken over from a process that is stopped
 * (SO_REUSEADDR: the newest gets the datagrams).
 */
public final class UdpGateway implements PacketPort {
  /** 10.77.0.1, as the guest sees this side. */
  public static final int ADDRESS = 10 << 24 | 77 << 16 | 1;

  private static final long MAC = 0x02_64_79_61_64_00L;
  private static final int PREFIX_BYTES = 4;
  private static final int ETHER_BYTES = 14;
  private static final int IP_BYTES = 20;
  private static final int UDP_BYTES = 8;
  private static final int HEADER_BYTES = ETHER_BYTES + IP_BYTES + UDP_BYTES;
  private static final int PAYLOAD_BYTES_MAX = 1500 - IP_BYTES - UDP_BYTES;
  private static final int ARP_BYTES = 28;
  private static final int ETHER_IPV4 = 0x0800;
  private static final int ETHER_ARP = 0x0806;
  private static final int PROTOCOL_UDP = 17;
  private static final int LOOPBACK = 127 << 24 | 1;

  private static final int NAME_BYTES = (int) sockaddr_in.sizeof();
  private static final long NAME_PORT = sockaddr_in.sin_port$offset();
  private static final long NAME_IP = sockaddr_in.sin_addr$offset();

  private final FileDescriptor socket;
  private final InetSocketAddress bound;
  private final int boundIp;
  private final long guestMac;
  private final int guestIp;
  private final int guestPort;

  // Socket addresses: the sender of what was received, the receiver of what is sent, ourselves.
  private final Mapping names = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final long sender = names.hostVirt();
  private final long receiver = sender + 64;
  private final long self = sender + 128;

  private final Count lostIn = new Count();
  private final Count lostOut = new Count();

  /**
   * @param at one IPv4 address of this host and a port, 0 for any
   * @param guestMac 6 bytes as the low part
   * @param guestIp of the guest, host order
   * @param guestPort the guest's port behind it
   */
  public UdpGateway(SocketAddress at, long guestMac, int guestIp, int guestPort) {
    if (at.family() != AF_INET() || at.toInet().getAddress().isAnyLocalAddress()) {
      throw new IllegalArgumentException("UDP port " + at + ": one IPv4 address and a port are needed, such as 127.0.0.1:11211");
    }
    socket = Sockets.bind(at, SOCK_DGRAM());
    bound = Sockets.localAddress(socket.fd()).toInet();
    byte[] ip = bound.getAddress().getAddress();
    boundIp = (ip[0] & 0xff) << 24 | (ip[1] & 0xff) << 16 | (ip[2] & 0xff) << 8 | (ip[3] & 0xff);
    this.guestMac = guestMac;
    this.guestIp = guestIp;
    this.guestPort = guestPort;
    putName(receiver, 0, 0);
    putName(self, boundIp, bound.getPort());
  }

  private static void putName(long at, int ip, int port) {
    Memory.putShort(at, (short) AF_INET());
    putShort(at + NAME_PORT, port);
    putInt(at + NAME_IP, ip);
  }

  /** Where clients reach the guest, with the port that the kernel chose. */
  public InetSocketAddress address() {
    return bound;
  }

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  // ---- towards the guest: the net thread

  @Override
  public long receive(long at, long room) {
    if (room < WIRE_FRAME_BYTES_MAX) {
      return AGAIN;
    }
    long frame = at + PREFIX_BYTES;
    long got = Sockets.receiveFrom(socket.fd(), frame + HEADER_BYTES, PAYLOAD_BYTES_MAX, MSG_DONTWAIT() | MSG_TRUNC(), sender, NAME_BYTES);
    if (got < 0) {
      return got == -EBADF() ? CLOSED : AGAIN;
    }
    if (got > PAYLOAD_BYTES_MAX) {
      lostIn.add(1);
      return AGAIN;
    }
    int ip = getInt(sender + NAME_IP);
    int port = getShort(sender + NAME_PORT);
    int bytes;
    if (ip == boundIp && port == bound.getPort()) {
      if (got != ARP_BYTES) {
        lostIn.add(1);
        return AGAIN;
      }
      bytes = arpReply(frame);
    } else {
      bytes = datagram(frame, ip == LOOPBACK ? ADDRESS : ip, port, (int) got);
    }
    putMac(frame, guestMac);
    putMac(frame + 6, MAC);
    putInt(at, bytes);
    return PREFIX_BYTES + (long) bytes;
  }

  private int datagram(long frame, int fromIp, int fromPort, int payloadBytes) {
    putShort(frame + 12, ETHER_IPV4);
    long ip = frame + ETHER_BYTES;
    putInt(ip, 0x4500_0000 | IP_BYTES + UDP_BYTES + payloadBytes);
    putInt(ip + 4, 0x4000); // do not fragment
    putInt(ip + 8, 64 << 24 | PROTOCOL_UDP << 16);
    putInt(ip + 12, fromIp);
    putInt(ip + 16, guestIp);
    putShort(ip + 10, checksum(ip));
    long udp = ip + IP_BYTES;
    putShort(udp, fromPort);
    putShort(udp + 2, guestPort);
    putShort(udp + 4, UDP_BYTES + payloadBytes);
    putShort(udp + 6, 0); // none: the datagram's own was checked by the kernel
    return HEADER_BYTES + payloadBytes;
  }

  /** Turns the guest's request, which lies where a payload would, into the answer. */
  private int arpReply(long frame) {
    long request = frame + HEADER_BYTES;
    int guest = getInt(request + 14);
    putShort(frame + 12, ETHER_ARP);
    long arp = frame + ETHER_BYTES;
    putInt(arp, 0x0001_0800);
    putInt(arp + 4, 0x0604_0002);
    putMac(arp + 8, MAC);
    putInt(arp + 14, ADDRESS);
    putMac(arp + 18, guestMac);
    putInt(arp + 24, guest);
    return ETHER_BYTES + ARP_BYTES;
  }

  private static int checksum(long ip) {
    int sum = 0;
    for (int i = 0; i < IP_BYTES; i += 2) {
      sum += getShort(ip + i);
    }
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    return ~sum & 0xffff;
  }

  // ---- from the guest: whoever releases

  /** One frame. */
  @Override
  public long send(long from, long bytes) {
    int length = getInt(from);
    long frame = from + PREFIX_BYTES;
    long taken = PREFIX_BYTES + (long) length;
    long sent;
    if (isArpForUs(frame, length)) {
      sent = Sockets.sendTo(socket.fd(), frame + ETHER_BYTES, ARP_BYTES, MSG_DONTWAIT(), self, NAME_BYTES);
    } else if (isDatagram(frame, length)) {
      long udp = frame + ETHER_BYTES + IP_BYTES;
      int to = getInt(frame + ETHER_BYTES + 16);
      putName(receiver, to == ADDRESS ? LOOPBACK : to, getShort(udp + 2));
      sent = Sockets.sendTo(socket.fd(), udp + UDP_BYTES, getShort(udp + 4) - UDP_BYTES, MSG_DONTWAIT(), receiver, NAME_BYTES);
    } else {
      lostOut.add(1);
      return taken;
    }
    if (sent == -EAGAIN() || sent == -EINTR() || sent == -ENOBUFS()) {
      return AGAIN;
    }
    if (sent == -EBADF()) {
      return CLOSED;
    }
    if (sent < 0) {
      lostOut.add(1);
    }
    return taken;
  }

  private static boolean isArpForUs(long frame, int length) {
    return length >= ETHER_BYTES + ARP_BYTES
        && getShort(frame + 12) == ETHER_ARP
        && getInt(frame + ETHER_BYTES + 4) == 0x0604_0001
        && getInt(frame + ETHER_BYTES + 24) == ADDRESS;
  }

  /** Whether it is a whole UDP datagram of the one port that is let through. */
  private boolean isDatagram(long frame, int length) {
    long ip = frame + ETHER_BYTES;
    return length >= HEADER_BYTES
        && getShort(frame + 12) == ETHER_IPV4
        && Memory.getByte(ip) == 0x45
        && (getShort(ip + 6) & 0x3fff) == 0
        && Memory.getByte(ip + 9) == PROTOCOL_UDP
        && getInt(ip + 12) == guestIp
        && getShort(ip + IP_BYTES) == guestPort
        && getShort(ip + IP_BYTES + 4) >= UDP_BYTES
        && getShort(ip + IP_BYTES + 4) <= length - ETHER_BYTES - IP_BYTES;
  }

  @Override
  public int receiveFd() {
    return socket.fd();
  }

  @Override
  public int sendFd() {
    return socket.fd();
  }

  @Override
  public long lostFrames() {
    return lostIn.get() + lostOut.get();
  }

  // Network order.

  private static int getShort(long at) {
    return Short.reverseBytes(Memory.getShort(at)) & 0xffff;
  }

  private static int getInt(long at) {
    return Integer.reverseBytes(Memory.getInt(at));
  }

  private static void putShort(long at, int value) {
    Memory.putShort(at, Short.reverseBytes((short) value));
  }

  private static void putInt(long at, int value) {
    Memory.putInt(at, Integer.reverseBytes(value));
  }

  private static void putMac(long at, long mac) {
    putShort(at, (int) (mac >>> 32));
    putInt(at + 2, (int) mac);
  }

  @Override
  public void close() {
    if (socket.isOpen()) {
      socket.close();
      names.close();
    }
  }
}
