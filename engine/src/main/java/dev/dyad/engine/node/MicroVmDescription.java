package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/**
 * What a standby has to know to build a microVM like the primary's.
 *
 * @param memoryBytes guest memory
 * @param vcpus number of vCPUs
 * @param mac of the card, 6 bytes as the low part
 * @param guestIp the guest's IPv4 address
 * @param guestPort the guest's UDP port that is let through
 * @param udp where clients reach that port on the primary's host, and on the standby's unless it is told otherwise
 */
record MicroVmDescription(long memoryBytes, int vcpus, long mac, int guestIp, int guestPort, SocketAddress udp) {
  private static final int VERSION = 1;

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
          new MicroVmDescription(in.readLong(), in.readInt(), in.readLong(), in.readInt(), in.readInt(), SocketAddress.inet(in.readUTF(), in.readInt()));
      if (in.read() >= 0) {
        throw new IOException("too long");
      }
      return read;
    } catch (IOException e) {
      throw new IllegalArgumentException("the primary's description of its microVM is malformed (" + bytes.length + " bytes)", e);
    }
  }
}
