package dev.dyad.engine.epoch.sim;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * One message of the simulated link and its encoding, the only place that knows it:
 *
 * <pre>
 *  0 magic  1 type  2 flags  3 0  4 length  8 sequence  12 count  16 generation  24 epoch  32 stamp  40 sum
 *  48 count × { page:4, value:8 }   length-4 crc32c
 * </pre>
 *
 * @param sequence counts the frames of one direction
 * @param flag of PAGES: values are differences to what was sent before; of GOODBYE: a handover
 * @param count of PAGES: its pages; of SEAL: the PAGES frames of the epoch
 * @param stamp send time or echo of one
 * @param sum of SEAL: CRC32C over the CRCs of the epoch's PAGES frames in order
 */
record Frame(
    Type type, int sequence, boolean flag, int count, long generation, long epoch, long stamp, long sum, int[] pages, long[] values, int crc) {

  enum Type {
    HELLO,
    PAGES,
    SEAL,
    HEARTBEAT,
    GOODBYE,
    REPORT
  }

  private static final byte MAGIC = 0x5d;
  private static final int HEADER = 48;
  private static final int ENTRY = 12;
  private static final int PAGES_MAX = 1024;
  private static final int[] NO_PAGES = {};
  private static final long[] NO_VALUES = {};
  private static final Type[] TYPES = Type.values();

  static Frame of(Type type, boolean flag, int count, long generation, long epoch, long stamp, long sum) {
    return new Frame(type, 0, flag, count, generation, epoch, stamp, sum, NO_PAGES, NO_VALUES, 0);
  }

  static Frame pages(long generation, long epoch, boolean delta, int[] pages, long[] values) {
    return new Frame(Type.PAGES, 0, delta, pages.length, generation, epoch, 0, 0, pages, values, 0);
  }

  byte[] encode(int withSequence) {
    int length = HEADER + pages.length * ENTRY + 4;
    ByteBuffer b = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    b.put(MAGIC).put((byte) type.ordinal()).put((byte) (flag ? 1 : 0)).put((byte) 0);
    b.putInt(length).putInt(withSequence).putInt(count).putLong(generation).putLong(epoch).putLong(stamp).putLong(sum);
    for (int i = 0; i < pages.length; i++) {
      b.putInt(pages[i]).putLong(values[i]);
    }
    b.putInt(crc(b.array(), length - 4));
    return b.array();
  }

  /** Null when the bytes are not a frame. */
  static @Nullable Frame decode(byte[] bytes, boolean checksCrc) {
    ByteBuffer b = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.length < HEADER + 4 || b.get() != MAGIC) {
      return null;
    }
    int type = b.get();
    boolean flag = b.get() != 0;
    b.get();
    int length = b.getInt();
    int sequence = b.getInt();
    int count = b.getInt();
    if (type < 0 || type >= TYPES.length || count < 0 || length != bytes.length) {
      return null;
    }
    boolean hasPages = TYPES[type] == Type.PAGES;
    if (hasPages ? count > PAGES_MAX || length != HEADER + count * ENTRY + 4 : length != HEADER + 4) {
      return null;
    }
    int crc = b.getInt(length - 4);
    if (checksCrc && crc != crc(bytes, length - 4)) {
      return null;
    }
    long generation = b.getLong();
    long epoch = b.getLong();
    long stamp = b.getLong();
    long sum = b.getLong();
    int[] pages = hasPages ? new int[count] : NO_PAGES;
    long[] values = hasPages ? new long[count] : NO_VALUES;
    for (int i = 0; i < pages.length; i++) {
      pages[i] = b.getInt();
      values[i] = b.getLong();
    }
    return new Frame(TYPES[type], sequence, flag, count, generation, epoch, stamp, sum, pages, values, crc);
  }

  static int crc(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, length);
    return (int) crc.getValue();
  }

  /** The epoch's sum after one more of its PAGES frames. */
  static long addToSum(long sum, Frame pages, int crcOfBody) {
    return SimGuest.mix(sum, crcOfBody + (long) pages.count());
  }

  /** CRC of what a PAGES frame carries, whatever its number on the link. */
  static int bodyCrc(Frame frame) {
    ByteBuffer b = ByteBuffer.allocate(frame.pages.length * ENTRY + 1).order(ByteOrder.LITTLE_ENDIAN);
    b.put((byte) (frame.flag ? 1 : 0));
    for (int i = 0; i < frame.pages.length; i++) {
      b.putInt(frame.pages[i]).putLong(frame.values[i]);
    }
    return crc(b.array(), b.position());
  }
}
