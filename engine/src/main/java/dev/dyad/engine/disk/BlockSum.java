package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Memory;

/**
 * A checksum of 128 bits by which two hosts compare blocks without sending them: two multiply-and-fold lanes over 16 bytes a step.
 *
 * <p>Not cryptographic: it tells blocks apart that differ by chance or by a fault. Both lanes are mixed with the block's number, so
 * that a block in the wrong place differs too.
 */
final class BlockSum {
  static final int BYTES = 16;

  private static final long K0 = 0xa0761d6478bd642fL;
  private static final long K1 = 0xe7037ed1a0b428dbL;
  private static final long K2 = 0x8ebc6af09c88c6e3L;
  private static final long K3 = 0x589965cc75374cc3L;

  private BlockSum() {}

  /**
   * @param bytes a multiple of 16
   * @param into address of {@link #BYTES} bytes
   */
  static void of(long hostVirt, int bytes, long block, long into) {
    long a = K0 ^ block;
    long b = K1 + block;
    for (int i = 0; i < bytes; i += 16) {
      long x = Memory.getLong(hostVirt + i);
      long y = Memory.getLong(hostVirt + i + 8);
      a = fold(a ^ x ^ K2, y ^ K3) + Long.rotateLeft(a, 23);
      b = fold(b ^ y ^ K0, x ^ K1) + Long.rotateLeft(b, 41);
    }
    Memory.putLong(into, fold(a ^ bytes, K1) ^ b);
    Memory.putLong(into + 8, fold(b ^ bytes, K3) + a);
  }

  private static long fold(long x, long y) {
    return (x * y) ^ Math.unsignedMultiplyHigh(x, y);
  }
}
