package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.BitSet;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;

/** The set of blocks against the library's own. */
class BlockMapTest {
  private static final int BLOCKS = 1000; // the last extent is not whole
  private static final int PER_EXTENT = 128;

  @Test
  void shouldHoldExactlyWhatAPlainBitSetHolds() {
    RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(7);
    BlockMap map = new BlockMap(BLOCKS, PER_EXTENT);
    BlockMap other = new BlockMap(BLOCKS, PER_EXTENT);
    BitSet same = new BitSet();
    BitSet sameOther = new BitSet();
    for (int step = 0; step < 20_000; step++) {
      int from = random.nextInt(BLOCKS);
      int count = random.nextInt(1, 300);
      int end = Math.min(BLOCKS, from + count);
      switch (random.nextInt(6)) {
        case 0, 1 -> {
          map.set(from, count);
          same.set(from, end);
        }
        case 2 -> {
          map.clear(from, count);
          same.clear(from, end);
        }
        case 3 -> {
          other.set(from, 1);
          sameOther.set(from);
        }
        case 4 -> {
          map.addAll(other);
          same.or(sameOther);
        }
        default -> {
          if (random.nextInt(50) == 0) {
            map.clear();
            same.clear();
          }
        }
      }
      assertEquals(same.cardinality(), map.count());
      assertEquals(same.isEmpty(), map.isEmpty());
      assertEquals(same.nextSetBit(from), map.next(from), "next from " + from);
      assertEquals(same.get(from), map.get(from));
      int clear = same.nextClearBit(from);
      assertEquals(Math.min(clear - from, Math.min(count, BLOCKS - from)), map.run(from, count), "run from " + from);
      int extent = from / PER_EXTENT;
      assertEquals(same.get(extent * PER_EXTENT, (extent + 1) * PER_EXTENT).cardinality(), map.extentCount(extent));
      assertEquals(word(same, from & ~63), map.word(from & ~63));
    }
  }

  private static long word(BitSet set, int from) {
    long[] words = set.get(from, from + 64).toLongArray();
    return words.length == 0 ? 0 : words[0];
  }

  @Test
  void shouldEndAtTheDisksEnd() {
    BlockMap map = new BlockMap(BLOCKS, PER_EXTENT);
    map.set(BLOCKS - 1, 100);
    assertEquals(1, map.count());
    assertEquals(BLOCKS - 1, map.next(0));
    assertEquals(-1, map.next(BLOCKS));
    map.clear();
    assertTrue(map.isEmpty());
  }

  @Test
  void shouldRefuseExtentsThatAreNoWholeWords() {
    assertThrows(IllegalArgumentException.class, () -> new BlockMap(BLOCKS, 100));
  }
}
