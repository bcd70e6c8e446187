package dev.dyad.engine.wire;

import dev.dyad.bindings.linux.Memory;
import java.nio.ByteBuffer;
import java.util.zip.CRC32C;

/**
 * CRC32C over native memory, 0 bytes allocated.
 *
 * <p>An instance covers one long-lived region of up to 2 GiB and belongs to one thread: it keeps a direct buffer over the region and moves
 * its limits, which is the one way to the JVM's hardware checksum that makes no object. The static form is for the odd small
 * message anywhere in memory.
 */
public final class Crc32c {
  private static final int POLYNOMIAL = 0x82f63b78;
  private static final int[] TABLE = new int[256];

  static {
    for (int i = 0; i < 256; i++) {
      int crc = i;
      for (int bit = 0; bit < 8; bit++) {
        crc = (crc >>> 1) ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
      }
      TABLE[i] = crc;
    }
  }

  private final long regionVirt;
  private final ByteBuffer region;
  private final CRC32C crc = new CRC32C();

  /**
   * @param regionVirt start of the region, which must outlive this object
   * @param bytes its size, at most {@link Integer#MAX_VALUE}
   */
  public Crc32c(long regionVirt, long bytes) {
    if (bytes <= 0 || bytes > Integer.MAX_VALUE) {
      throw new IllegalArgumentException("a region of " + bytes + " bytes: needed is 1 to " + Integer.MAX_VALUE);
    }
    this.regionVirt = regionVirt;
    region = Memory.view(regionVirt, bytes).asByteBuffer();
  }

  /** CRC32C of {@code bytes} bytes at {@code hostVirt}, all inside the region. */
  public int of(long hostVirt, int bytes) {
    int from = Math.toIntExact(hostVirt - regionVirt);
    region.limit(from + bytes).position(from);
    crc.reset();
    crc.update(region);
    return (int) crc.getValue();
  }

  /** CRC32C of a few bytes anywhere; a byte at a time. */
  public static int ofSmall(long hostVirt, int bytes) {
    int value = -1;
    for (int i = 0; i < bytes; i++) {
      value = (value >>> 8) ^ TABLE[(value ^ Memory.getByte(hostVirt + i)) & 0xff];
    }
    return ~value;
  }
}
