package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/**
 * An entry of a port's table of global identifiers: with RoCE an IP address and how it travels.
 *
 * @param index its place in the port's table, which a queue pair names
 * @param type {@code IBV_GID_TYPE_*}
 * @param high the first 8 bytes, in network order
 * @param low the last 8 bytes, in network order
 * @param interfaceIndex of the network interface, 0 for none
 */
public record Gid(int port, int index, int type, long high, long low, int interfaceIndex) {

  private static final long IPV4_MAPPED = 0xffffL << 32;

  /** RoCE version 2 (UDP), which routes and which networks can prioritize. */
  public boolean isRoceV2() {
    return type == IBV_GID_TYPE_ROCE_V2();
  }

  /** Whether this entry stands for the address; an IPv4 address is written as ::ffff:a.b.c.d. */
  public boolean isOf(InetAddress address) {
    ByteBuffer bytes = ByteBuffer.wrap(address.getAddress());
    if (address instanceof Inet4Address) {
      return high == 0 && low == (IPV4_MAPPED | Integer.toUnsignedLong(bytes.getInt()));
    }
    return high == bytes.getLong() && low == bytes.getLong();
  }

  /** The address as text. */
  public String address() {
    try {
      return InetAddress.getByAddress(ByteBuffer.allocate(16).putLong(high).putLong(low).array()).getHostAddress();
    } catch (UnknownHostException e) {
      throw new IllegalStateException(e); // 16 bytes are an address
    }
  }
}
