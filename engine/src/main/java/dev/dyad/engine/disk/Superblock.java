package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.Crc32c;

/**
 * The block that says what a disk is. There are two copies, written in turn: a torn write leaves the other. Encoding only; the one
 * who writes it is {@link DiskMetadata}.
 *
 * <pre>
 *   0       4       8     12     16        24        40      48      52       56     60     64       72    80        112    120
 *   | magic | crc   | ver | flags| sequence| set id  | bytes | block | extent | act. | zero | current | base | history | logId |
 * </pre>
 */
final class Superblock {
  static final int MAGIC = 0x4d445944; // "DYDM"
  static final int VERSION = 1;

  /** The data was never complete, or is not complete now: levelling did not finish. */
  static final int INCONSISTENT = 1;

  /** This side receives epochs: after a crash its image may be between two of them. */
  static final int RECEIVING = 2;

  /** A person declared this side's own history void. */
  static final int DISCARD_MINE = 4;

  /** The write log may hold durable epochs that are not in the image. */
  static final int LOGGED = 8;

  /** The image refused reads or writes: what it lacks was not marked. */
  static final int FAILED = 16;

  /** The other side's image failed: nothing of it counts, whatever it says. */
  static final int PEER_VOID = 32;

  private static final int FLAGS_KNOWN = INCONSISTENT | RECEIVING | DISCARD_MINE | LOGGED | FAILED | PEER_VOID;
  private static final int CRC_FROM = 8;

  private Superblock() {}

  static void write(
      long at, DiskGeometry geometry, long sequence, int flags, long setIdLow, long setIdHigh, Generations generations, long logId) {
    Memory.zero(at, DiskGeometry.META_BLOCK);
    Memory.putInt(at, MAGIC);
    Memory.putInt(at + 8, VERSION);
    Memory.putInt(at + 12, flags);
    Memory.putLong(at + 16, sequence);
    Memory.putLong(at + 24, setIdLow);
    Memory.putLong(at + 32, setIdHigh);
    Memory.putLong(at + 40, geometry.bytes());
    Memory.putInt(at + 48, geometry.blockBytes());
    Memory.putInt(at + 52, geometry.extentBytes());
    Memory.putInt(at + 56, geometry.activeExtents());
    Memory.putLong(at + 64, generations.current());
    Memory.putLong(at + 72, generations.base());
    for (int i = 0; i < Generations.HISTORY; i++) {
      Memory.putLong(at + 80 + 8L * i, generations.history()[i]);
    }
    Memory.putLong(at + 112, logId);
    Memory.putInt(at + 4, crc(at));
  }

  private static int crc(long at) {
    return Crc32c.ofSmall(at + CRC_FROM, DiskGeometry.META_BLOCK - CRC_FROM);
  }

  static boolean isBlank(long at) {
    for (int i = 0; i < DiskGeometry.META_BLOCK; i += 8) {
      if (Memory.getLong(at + i) != 0) {
        return false;
      }
    }
    return true;
  }

  /** What is wrong with the block, in words; empty when it is good. */
  static String fault(long at) {
    if (Memory.getInt(at) != MAGIC) {
      return "magic 0x%08x, needed 0x%08x: this is not a Dyad metadata file".formatted(Memory.getInt(at), MAGIC);
    }
    if (Memory.getInt(at + 8) != VERSION) {
      return "version " + Memory.getInt(at + 8) + ", needed " + VERSION + ": use the Dyad release that wrote it";
    }
    if (Memory.getInt(at + 4) != crc(at)) {
      return "checksum 0x%08x, needed 0x%08x: the block is damaged".formatted(Memory.getInt(at + 4), crc(at));
    }
    if ((flags(at) & ~FLAGS_KNOWN) != 0) {
      return "unknown flags 0x%x".formatted(flags(at));
    }
    return "";
  }

  static int flags(long at) {
    return Memory.getInt(at + 12);
  }

  static long sequence(long at) {
    return Memory.getLong(at + 16);
  }

  static long setIdLow(long at) {
    return Memory.getLong(at + 24);
  }

  static long setIdHigh(long at) {
    return Memory.getLong(at + 32);
  }

  static long bytes(long at) {
    return Memory.getLong(at + 40);
  }

  /** @throws IllegalArgumentException when the numbers make no sense */
  static DiskGeometry geometry(long at) {
    return new DiskGeometry(bytes(at), Memory.getInt(at + 48), Memory.getInt(at + 52), Memory.getInt(at + 56));
  }

  static Generations generations(long at) {
    long[] history = new long[Generations.HISTORY];
    for (int i = 0; i < history.length; i++) {
      history[i] = Memory.getLong(at + 80 + 8L * i);
    }
    return new Generations(Memory.getLong(at + 64), Memory.getLong(at + 72), history);
  }

  static long logId(long at) {
    return Memory.getLong(at + 112);
  }
}
