package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.vm.kvm.boot.BootImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;

/**
 * What a standby has to know to build a microVM like the primary's.
 *
 * @param memoryBytes guest memory
 * @param vcpus number of vCPUs
 * @param mac of the card, 6 bytes as the low part
 * @param guestIp the guest's IPv4 address
 * @param guestPort the guest's UDP port that is let through
 * @param udp where clients reach that port on the primary's host, and on the standby's unless it is told otherwise
 * @param tap name of the TAP that is the card's other end on the primary's host, and on the standby's unless it is told otherwise; empty: UDP
 * @param builtin whether it runs the guest that comes with Dyad, and says of itself what that says
 */
record MicroVmDescription(long memoryBytes, int vcpus, long mac, int guestIp, int guestPort, SocketAddress udp, String tap, boolean builtin) {
  private static final int VERSION = 2;
  private static final long STEP_BYTES = 2 << 20;

  MicroVmDescription {
    if (memoryBytes <= 0 || memoryBytes % STEP_BYTES != 0) {
      throw new IllegalArgumentException("memory of " + memoryBytes + " bytes; needed is a positive multiple of 2 MiB");
    }
    if (vcpus < 1 || vcpus > BootImage.VCPUS_MAX) {
      throw new IllegalArgumentException(vcpus + " vCPUs; needed are 1 to " + BootImage.VCPUS_MAX);
    }
    if (mac <= 0 || mac >> 48 != 0 || guestPort < 0 || guestPort > 0xffff) {
      throw new IllegalArgumentException("network card " + Long.toHexString(mac) + ", port " + guestPort + ": neither is possible");
    }
  }

  byte[] encode() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeShort(VERSION);
      out.writeLong(memoryBytes);
      out.writeInt(vcpus);
      out.writeLong(mac);
      out.writeInt(guestIp);
      out.writeInt(guestPort);
      out.writeUTF(udp.toInet().getAddress().getHostAddress());
      out.writeInt(udp.toInet().getPort());
      out.writeUTF(tap);
      out.writeBoolean(builtin);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  /**
   * @throws IllegalArgumentException with one line when it is malformed
   */
  static MicroVmDescription decode(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int version = in.readUnsignedShort();
      if (version != VERSION) {
        throw new IllegalArgumentException("the primary describes its microVM in version " + version + "; needed is version " + VERSION);
      }
      MicroVmDescription read =
          new MicroVmDescription(in.readLong(), in.readInt(), in.readLong(), in.readInt(), in.readInt(), address(in.readUTF(), in.readInt()), in.readUTF(), in.readBoolean());
      if (in.read() >= 0) {
        throw new IOException("too long");
      }
      return read;
    } catch (IOException e) {
      throw new IllegalArgumentException("the primary's description of its microVM is malformed (" + bytes.length + " bytes)", e);
    }
  }

  /** A literal: what a peer says is not looked up. */
  private static SocketAddress address(String host, int port) throws IOException {
    try {
      return SocketAddress.inet(new InetSocketAddress(InetAddress.ofLiteral(host), port));
    } catch (IllegalArgumentException e) {
      throw new IOException("no address", e);
    }
  }
}
