package dev.dyad.engine.node;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/**
 * What the primary tells the standby of its guest before any page: the node's own part around the hypervisor's description.
 *
 * @param name of the guest
 * @param arbiter where the primary's is, {@link dev.dyad.engine.arbiter.ArbiterPlace}
 * @param detectorNanos the primary's detector bound, which both sides must use
 * @param description for the hypervisor's part to build a machine from
 */
public record MachineEnvelope(String name, String arbiter, long detectorNanos, byte[] description) {
  private static final int VERSION = 1;

  byte[] encode() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeShort(VERSION);
      out.writeUTF(name);
      out.writeUTF(arbiter);
      out.writeLong(detectorNanos);
      out.write(description);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  /**
   * @throws IllegalArgumentException with one line when it is malformed
   */
  static MachineEnvelope decode(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int version = in.readUnsignedShort();
      if (version != VERSION) {
        throw new IllegalArgumentException("the primary describes its machine in version " + version + "; needed is version " + VERSION);
      }
      return new MachineEnvelope(in.readUTF(), in.readUTF(), in.readLong(), in.readAllBytes());
    } catch (IOException e) {
      throw new IllegalArgumentException("the primary's description of its machine is malformed (" + bytes.length + " bytes)", e);
    }
  }
}
