package dev.dyad.engine.arbiter;

import dev.dyad.bindings.linux.Memory;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * The bytes of a generation file: a head and two slots that are written in turn, so that a write that is torn by a crash leaves the
 * slot before it whole. Little-endian; one page.
 *
 * <pre>
 *    0  head   u8[8] "DYADGEN1"
 *  512  slot 0
 * 1024  slot 1
 *
 * slot:  0 u64 generation   8 u64 salt (0)   16 u32 CRC32C of bytes 0..15 and of the host's 4 + n bytes
 *       20 u32 n            24 u8[n] host, UTF-8
 * </pre>
 *
 * <p>The generation of a slot is one aligned word: a process that has the file mapped reads it without a lock, at worst too
 * early, which makes it hold back. Owns nothing; the addresses are the caller's.
 */
final class GenerationFile {
  static final int BYTES = 4096;
  static final int HEAD_BYTES = 8;
  static final int SLOT_BYTES = 512;
  static final int HOST_BYTES_MAX = 255;

  /** "DYADGEN1" as a little-endian word. */
  static final long MAGIC = 0x314e_4547_4441_5944L;

  private static final int GENERATION = 0;
  private static final int CRC = 16;
  private static final int HOST_BYTES = 20;
  private static final int HOST = 24;

  private GenerationFile() {}

  static int slotOffset(int slot) {
    return SLOT_BYTES * (1 + slot);
  }

  /** The newest generation that either slot names, whole or not: for holding back, never for going on. */
  static long newestNamed(long file) {
    return Math.max(Memory.getLongVolatile(file + slotOffset(0)), Memory.getLongVolatile(file + slotOffset(1)));
  }

  /** Index of the whole slot with the newest generation, or −1 when neither is whole. */
  static int newestSlot(long file) {
    boolean first = isWhole(file + slotOffset(0));
    boolean second = isWhole(file + slotOffset(1));
    if (first && second) {
      return generation(file, 1) > generation(file, 0) ? 1 : 0;
    }
    return first ? 0 : second ? 1 : -1;
  }

  static long generation(long file, int slot) {
    return Memory.getLong(file + slotOffset(slot) + GENERATION);
  }

  static String host(long file, int slot) {
    long at = file + slotOffset(slot);
    byte[] host = new byte[Memory.getInt(at + HOST_BYTES)];
    Memory.copyTo(at + HOST, host, 0, host.length);
    return new String(host, StandardCharsets.UTF_8);
  }

  /** Fills {@link #SLOT_BYTES} at {@code slot}. */
  static void write(long slot, long generation, String host) {
    byte[] name = host.getBytes(StandardCharsets.UTF_8);
    if (name.length == 0 || name.length > HOST_BYTES_MAX) {
      throw new IllegalArgumentException("host name of " + name.length + " bytes: 1 to " + HOST_BYTES_MAX);
    }
    Memory.zero(slot, SLOT_BYTES);
    Memory.putLong(slot + GENERATION, generation);
    Memory.putInt(slot + HOST_BYTES, name.length);
    Memory.copyFrom(name, 0, slot + HOST, name.length);
    Memory.putInt(slot + CRC, crc(slot, name.length));
  }

  private static boolean isWhole(long slot) {
    int length = Memory.getInt(slot + HOST_BYTES);
    return length > 0
        && length <= HOST_BYTES_MAX
        && Memory.getLong(slot + GENERATION) >= 0
        && Memory.getInt(slot + CRC) == crc(slot, length);
  }

  private static int crc(long slot, int hostBytes) {
    byte[] covered = new byte[16 + 4 + hostBytes];
    Memory.copyTo(slot, covered, 0, 16);
    Memory.copyTo(slot + HOST_BYTES, covered, 16, 4 + hostBytes);
    CRC32C crc = new CRC32C();
    crc.update(covered);
    return (int) crc.getValue();
  }

  /** What is wrong with a file of full length, or null. */
  static @Nullable String problem(long file) {
    if (Memory.getLong(file) != MAGIC) {
      return "is not a generation file (its head is not DYADGEN1)";
    }
    if (newestSlot(file) < 0) {
      return "is corrupt (neither of its two records is whole)";
    }
    return null;
  }
}
