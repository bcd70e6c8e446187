package dev.dyad.engine.disk;

/**
 * A set of block numbers, as bits with a count for each extent, so that looking for the next block and emptying cost what the
 * extents in use cost and not what the disk is large. One owner; all memory is taken at construction (1 bit a block).
 */
final class BlockMap {
  private final long[] words;
  private final int[] perExtent;
  private final int wordsPerExtent;
  private final int extentShift;
  private final long blocks;
  private long count;

  /**
   * @param blocks size of the disk
   * @param blocksPerExtent a power of two, at least 64
   */
  BlockMap(long blocks, int blocksPerExtent) {
    if (blocksPerExtent < Long.SIZE || Integer.bitCount(blocksPerExtent) != 1) {
      throw new IllegalArgumentException(blocksPerExtent + " blocks an extent: needed is a power of two of at least 64");
    }
    this.blocks = blocks;
    extentShift = Integer.numberOfTrailingZeros(blocksPerExtent);
    wordsPerExtent = blocksPerExtent / Long.SIZE;
    int extents = Math.toIntExact((blocks + blocksPerExtent - 1) >>> extentShift);
    words = new long[Math.multiplyExact(extents, wordsPerExtent)];
    perExtent = new int[extents];
  }

  long count() {
    return count;
  }

  boolean isEmpty() {
    return count == 0;
  }

  int extentCount(int extent) {
    return perExtent[extent];
  }

  boolean get(long block) {
    return (words[(int) (block >>> 6)] & (1L << block)) != 0;
  }

  void set(long from, long blockCount) {
    long end = Math.min(blocks, from + blockCount);
    for (long block = from; block < end; ) {
      int word = (int) (block >>> 6);
      long mask = mask(block, end);
      change(word, words[word] | mask);
      block = (long) (word + 1) << 6;
    }
  }

  void clear(long from, long blockCount) {
    long end = Math.min(blocks, from + blockCount);
    for (long block = from; block < end; ) {
      int word = (int) (block >>> 6);
      long mask = mask(block, end);
      change(word, words[word] & ~mask);
      block = (long) (word + 1) << 6;
    }
  }

  /** The bits of 64 blocks from {@code block}, a multiple of 64, on. */
  long word(long block) {
    return words[(int) (block >>> 6)];
  }

  void addAll(BlockMap other) {
    for (int extent = 0; extent < perExtent.length; extent++) {
      if (other.perExtent[extent] > 0) {
        int first = extent * wordsPerExtent;
        for (int word = first; word < first + wordsPerExtent; word++) {
          change(word, words[word] | other.words[word]);
        }
      }
    }
  }

  void clear() {
    for (int extent = 0; extent < perExtent.length && count > 0; extent++) {
      if (perExtent[extent] > 0) {
        count -= perExtent[extent];
        perExtent[extent] = 0;
        int first = extent * wordsPerExtent;
        for (int word = first; word < first + wordsPerExtent; word++) {
          words[word] = 0;
        }
      }
    }
  }

  /** The first block of the set at or after {@code from}, or −1. */
  long next(long from) {
    if (from >= blocks || count == 0) {
      return -1;
    }
    int extent = (int) (from >>> extentShift);
    int word = (int) (from >>> 6);
    long bits = words[word] & (-1L << from);
    while (true) {
      if (perExtent[extent] > 0) {
        int end = (extent + 1) * wordsPerExtent;
        while (true) {
          if (bits != 0) {
            return ((long) word << 6) + Long.numberOfTrailingZeros(bits);
          }
          if (++word == end) {
            break;
          }
          bits = words[word];
        }
      }
      if (++extent == perExtent.length) {
        return -1;
      }
      word = extent * wordsPerExtent;
      bits = words[word];
    }
  }

  /** Length of the run of blocks of the set that starts at {@code from}, at most {@code max}. */
  long run(long from, long max) {
    long end = Math.min(blocks, from + max);
    long block = from;
    while (block < end && get(block)) {
      block++;
    }
    return block - from;
  }

  private void change(int word, long bits) {
    int delta = Long.bitCount(bits) - Long.bitCount(words[word]);
    words[word] = bits;
    perExtent[word / wordsPerExtent] += delta;
    count += delta;
  }

  private static long mask(long block, long end) {
    long mask = -1L << block;
    long wordEnd = (block | 63) + 1;
    return end < wordEnd ? mask & ~(-1L << end) : mask;
  }
}
