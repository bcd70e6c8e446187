package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.Wire;

/**
 * The difference of two versions of a page: which 64-byte lines differ, which words of these, and each such word's XOR. The masks say
 * exactly how long it is, and no mask can point outside of the page, so a damaged difference is either refused or wrong inside its page.
 *
 * <pre>
 *   | lines: 64 bits | words: 8 bits a differing line, padded to 8 bytes | xor: 8 bytes a differing word |
 * </pre>
 */
public final class PageDelta {
  /** Longest difference that {@link #encode} may write, with the word that it may scribble on behind the end. */
  public static final int ROOM_BYTES = 8 + Pages.LINES + Pages.BYTES + 8;

  /** No difference is tried: the page goes whole. */
  static final int TOO_LONG = Integer.MAX_VALUE;

  private static final int WORDS_IN_LINE = Pages.LINE_BYTES / 8;

  /** Lines that are looked at before a difference of many lines is written. */
  private static final int SAMPLE_LINES = 8;

  private PageDelta() {}

  /**
   * Writes the difference and makes {@code before} equal to {@code now}.
   *
   * <p>A page that was written anew differs in nearly all its words; working its difference out to the end, only to find it longer than the page is worth, is
   * the dearest thing an encoder can do. So when many lines differ, a few of them tell how full they are. They may mislead, which costs bytes or time, nothing else.
   *
   * @param now the page
   * @param before its last version, which differs
   * @param to room for {@link #ROOM_BYTES}
   * @return bytes written, or {@link #TOO_LONG} with nothing written and {@code before} as it was
   */
  public static int encode(long now, long before, long to) {
    long lines = Pages.linesThatDiffer(now, before);
    int lineCount = Long.bitCount(lines);
    if (lineCount * Pages.LINE_BYTES > PageRecord.DELTA_BYTES_MAX && sampledBytes(now, before, lines, lineCount) > PageRecord.DELTA_BYTES_MAX) {
      return TOO_LONG;
    }
    long mask = to + 8;
    long xor = mask + Wire.aligned(lineCount);
    Memory.putLong(to, lines);
    Memory.putLong(xor - 8, 0); // the padding behind the last mask; there is at least one mask, so this is not the lines' word
    long nowBase = Memory.base(now);
    long beforeBase = Memory.base(before);
    for (long rest = lines; rest != 0; rest &= rest - 1) {
      long offset = Pages.firstOffset(rest);
      int words = 0;
      for (int i = 0; i < WORDS_IN_LINE; i++) {
        long value = Memory.getLong(nowBase + offset + i * 8L);
        long difference = value ^ Memory.getLong(beforeBase + offset + i * 8L);
        Memory.putLong(beforeBase + offset + i * 8L, value);
        Memory.putLong(xor, difference);
        int differs = difference != 0 ? 1 : 0;
        words |= differs << i;
        xor += differs * 8L;
      }
      Memory.putByte(mask++, (byte) words);
    }
    return (int) (xor - to);
  }

  /** Length of the difference if all lines are like a few spread over them. */
  private static int sampledBytes(long now, long before, long lines, int lineCount) {
    int words = 0;
    int step = lineCount / SAMPLE_LINES;
    long rest = lines;
    long nowBase = Memory.base(now);
    long beforeBase = Memory.base(before);
    for (int sample = 0; sample < SAMPLE_LINES; sample++) {
      long offset = Pages.firstOffset(rest);
      for (int i = 0; i < WORDS_IN_LINE; i++) {
        words += Memory.getLong(nowBase + offset + i * 8L) != Memory.getLong(beforeBase + offset + i * 8L) ? 1 : 0;
      }
      for (int skip = 0; skip < step; skip++) {
        rest &= rest - 1;
      }
    }
    return 8 + Wire.aligned(lineCount) + words * lineCount * 8 / SAMPLE_LINES;
  }

  /**
   * Length that the masks of a difference ask for.
   *
   * @param available bytes that may be read, a multiple of 8
   * @return −1 when the masks themselves are malformed or cut off
   */
  static int bytesNeeded(long delta, int available) {
    if (available < 16) {
      return -1;
    }
    long lines = Memory.getLong(delta);
    int lineCount = Long.bitCount(lines);
    int head = 8 + Wire.aligned(lineCount);
    if (lines == 0 || head > available) {
      return -1;
    }
    int words = 0;
    for (int i = 8; i < head; i++) {
      int mask = Byte.toUnsignedInt(Memory.getByte(delta + i));
      if ((mask == 0) == (i < 8 + lineCount)) {
        return -1;
      }
      words += Integer.bitCount(mask);
    }
    return head + words * 8;
  }

  /** Turns {@code page} into its next version; {@link #bytesNeeded} must have been found right. */
  public static void apply(long delta, long page) {
    long lines = Memory.getLong(delta);
    long mask = delta + 8;
    long xor = mask + Wire.aligned(Long.bitCount(lines));
    for (long rest = lines; rest != 0; rest &= rest - 1) {
      long line = page + Long.numberOfTrailingZeros(rest) * (long) Pages.LINE_BYTES;
      for (int words = Byte.toUnsignedInt(Memory.getByte(mask++)); words != 0; words &= words - 1) {
        long word = line + Integer.numberOfTrailingZeros(words) * 8L;
        Memory.putLong(word, Memory.getLong(word) ^ Memory.getLong(xor));
        xor += 8;
      }
    }
  }
}
