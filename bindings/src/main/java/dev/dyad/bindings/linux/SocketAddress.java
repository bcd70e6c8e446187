package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.sockaddr_in;
import dev.dyad.bindings.abi.linux.sockaddr_in6;
import dev.dyad.bindings.abi.linux.sockaddr_un;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** A socket address in the kernel's bytes: unix(7), ip(7), ipv6(7). Immutable; set-up code, so it may allocate. */
public final class SocketAddress {

  private static final int PATH_OFFSET = (int) sockaddr_un.sun_path$offset();
  private static final int PATH_BYTES = (int) (sockaddr_un.sizeof() - PATH_OFFSET);

  private final byte[] bytes;

  private SocketAddress(byte[] bytes) {
    this.bytes = bytes;
  }

  /** A path in the file system, shorter than 108 bytes. */
  public static SocketAddress unix(String path) {
    return unixName(path.getBytes(StandardCharsets.UTF_8), 0, path);
  }

  /** A name in the network namespace's abstract space: no file, gone with its last socket. */
  public static SocketAddress unixAbstract(String name) {
    return unixName(name.getBytes(StandardCharsets.UTF_8), 1, name);
  }

  private static SocketAddress unixName(byte[] name, int at, String shown) {
    if (name.length + 1 > PATH_BYTES) {
      throw new IllegalArgumentException("socket path of " + name.length + " bytes, at most " + (PATH_BYTES - 1)
          + ": " + shown);
    }
    // A path ends in NUL; an abstract name begins with one and ends with the length.
    ByteBuffer into = family(PATH_OFFSET + name.length + 1, AF_UNIX());
    into.position(PATH_OFFSET + at).put(name);
    return new SocketAddress(into.array());
  }

  /** A host name is resolved here; give a literal where that must not block. */
  public static SocketAddress inet(String host, int port) {
    try {
      return inet(new InetSocketAddress(InetAddress.getByName(host), port));
    } catch (UnknownHostException e) {
      throw new IllegalArgumentException("unknown host: " + host, e);
    }
  }

  public static SocketAddress inet(InetSocketAddress address) {
    byte[] ip = address.getAddress().getAddress();
    boolean four = ip.length == 4;
    ByteBuffer into = four
        ? family((int) sockaddr_in.sizeof(), AF_INET())
        : family((int) sockaddr_in6.sizeof(), AF_INET6());
    int portAt = (int) (four ? sockaddr_in.sin_port$offset() : sockaddr_in6.sin6_port$offset());
    int ipAt = (int) (four ? sockaddr_in.sin_addr$offset() : sockaddr_in6.sin6_addr$offset());
    into.order(ByteOrder.BIG_ENDIAN).putShort(portAt, (short) address.getPort()).put(ipAt, ip);
    return new SocketAddress(into.array());
  }

  private static ByteBuffer family(int length, int family) {
    return ByteBuffer.allocate(length).order(ByteOrder.nativeOrder()).putShort(0, (short) family);
  }

  static SocketAddress decode(long at, int length) {
    byte[] bytes = new byte[length];
    Memory.copyTo(at, bytes, 0, length);
    return new SocketAddress(bytes);
  }

  /** Of the {@code sockaddr}, in bytes. */
  public int length() {
    return bytes.length;
  }

  /** Writes {@link #length()} bytes. */
  public void encode(long at) {
    Memory.copyFrom(bytes, 0, at, bytes.length);
  }

  /** AF_UNIX, AF_INET or AF_INET6; AF_UNSPEC (0) for a socket without a name. */
  public int family() {
    return bytes.length < 2 ? 0 : ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder()).getShort(0);
  }

  public boolean isInet() {
    return family() == AF_INET() || family() == AF_INET6();
  }

  /** Only of an internet address. */
  public InetSocketAddress toInet() {
    boolean four = family() == AF_INET();
    if (!isInet()) {
      throw new IllegalStateException("not an internet address: " + this);
    }
    int portAt = (int) (four ? sockaddr_in.sin_port$offset() : sockaddr_in6.sin6_port$offset());
    int ipAt = (int) (four ? sockaddr_in.sin_addr$offset() : sockaddr_in6.sin6_addr$offset());
    byte[] ip = new byte[four ? 4 : 16];
    System.arraycopy(bytes, ipAt, ip, 0, ip.length);
    int port = ByteBuffer.wrap(bytes).getShort(portAt) & 0xffff;
    try {
      return new InetSocketAddress(InetAddress.getByAddress(ip), port);
    } catch (UnknownHostException e) {
      throw new AssertionError("4 or 16 bytes are always an address", e);
    }
  }

  /** {@code 127.0.0.1:7400}, {@code [::1]:7400}, {@code unix:/run/x} or {@code unix:@name}. */
  @Override
  public String toString() {
    if (isInet()) {
      InetSocketAddress inet = toInet();
      String ip = inet.getAddress().getHostAddress();
      return (ip.contains(":") ? "[" + ip + "]" : ip) + ":" + inet.getPort();
    }
    if (bytes.length <= PATH_OFFSET) {
      return "unix:";
    }
    boolean named = bytes[PATH_OFFSET] == 0;
    int from = named ? PATH_OFFSET + 1 : PATH_OFFSET;
    int end = from;
    while (end < bytes.length && (named || bytes[end] != 0)) {
      end++;
    }
    return "unix:" + (named ? "@" : "") + new String(bytes, from, end - from, StandardCharsets.UTF_8);
  }
}
