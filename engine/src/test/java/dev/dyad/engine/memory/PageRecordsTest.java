package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The last good value and the first bad one of every bound, right before memory that must not be touched. */
class PageRecordsTest {
  private static final int PAGES = 10;
  private static final int PAGE = TestMemory.PAGE;

  private final TestMemory.Guarded guarded = new TestMemory.Guarded(64 << 10);
  private final PageRecords records = new PageRecords(PAGES);

  @AfterEach
  void close() {
    guarded.close();
  }

  @Test
  void shouldTakePagesUpToTheLastOne() {
    for (int kind : new int[] {PageRecord.ZERO, PageRecord.SAME}) {
      assertEquals(Reason.NONE, check(0, 1, PageRecord.word(9, kind, 1)));
      assertEquals(Reason.NONE, check(0, 1, PageRecord.word(0, kind, PAGES)));
      assertEquals(PAGES, records.pages());
      assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word(10, kind, 1)));
      assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word(9, kind, 2)));
      assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word(0, kind, PAGES + 1)));
      assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word((1L << 36) - 1, kind, PageRecord.N_MAX)));
      assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word(3, kind, 0)));
    }
    assertEquals(Reason.PAGE_OUTSIDE, check(0, 1, PageRecord.word(10, PageRecord.DELTA, 24), 1, 1, 5));
  }

  @Test
  void shouldTakeWholePagesOnlyIfTheyAreThere() {
    long[] body = new long[2 * PAGE / 8];
    assertEquals(Reason.NONE, check(0, 1, PageRecord.word(8, PageRecord.RAW, 2), body));
    assertEquals(2, records.pages());
    assertEquals(Reason.RECORD_LENGTH, check(0, 1, PageRecord.word(7, PageRecord.RAW, 3), body));
    assertEquals(Reason.RECORD_LENGTH, check(0, 1, PageRecord.word(8, PageRecord.RAW, 2), new long[body.length - 1]));
    assertEquals(Reason.RECORD_LENGTH, check(0, 1, PageRecord.word(8, PageRecord.RAW, 1)));
  }

  @Test
  void shouldTakeADifferenceOnlyIfItsMasksSayItsLength() {
    assertEquals(Reason.NONE, check(0, 1, delta(24), 1, 0x01, 5));
    assertEquals(Reason.NONE, check(0, 1, delta(40), (1L << 63) | 1, 0x0301, 5, 6, 7));
    assertEquals(Reason.DELTA, check(0, 1, delta(24), 0, 0x01, 5), "no line");
    assertEquals(Reason.DELTA, check(0, 1, delta(24), 1, 0x00, 5), "a line without a word");
    assertEquals(Reason.DELTA, check(0, 1, delta(24), 1, 0x03, 5), "a word too few");
    assertEquals(Reason.DELTA, check(0, 1, delta(32), 1, 0x01, 5, 6), "a word too many");
    assertEquals(Reason.DELTA, check(0, 1, delta(24), 1, 0x0101, 5), "padding that is not zero");
    assertEquals(Reason.DELTA, check(0, 1, delta(16), -1, 0x01), "masks that are cut off");
    assertEquals(Reason.DELTA, check(0, 1, delta(8), 1), "no masks");
    assertEquals(Reason.DELTA, check(0, 1, delta(0)), "nothing at all");
    assertEquals(Reason.DELTA, check(0, 1, delta(20), 1, 0x01, 5), "not in words");
    assertEquals(Reason.RECORD_LENGTH, check(0, 1, delta(32), 1, 0x01, 5), "longer than its frame");
  }

  @Test
  void shouldRefuseUnknownKindsFlagsAndCounts() {
    assertEquals(Reason.NONE, check(PagesFrame.BASELINE, 0));
    assertEquals(Reason.RECORD_KIND, check(0, 1, PageRecord.word(0, 0, 1)));
    assertEquals(Reason.RECORD_KIND, check(0, 1, PageRecord.word(0, 5, 1)));
    assertEquals(Reason.FLAGS, check(2, 1, PageRecord.word(0, PageRecord.ZERO, 1)));
    assertEquals(Reason.RECORD_LENGTH, check(0, 2, PageRecord.word(0, PageRecord.ZERO, 1)));
    assertEquals(Reason.RECORD_LENGTH, check(0, 0, PageRecord.word(0, PageRecord.ZERO, 1)));
    assertEquals(Reason.TRUNCATED, records.check(guarded.place(new byte[0], 0), 0));
  }

  private static long delta(int bytes) {
    return PageRecord.word(4, PageRecord.DELTA, bytes);
  }

  private Reason check(int flags, int count, long word, long... body) {
    ByteBuffer payload = ByteBuffer.allocate(PagesFrame.BYTES + 8 + 8 * body.length).order(ByteOrder.LITTLE_ENDIAN);
    payload.putInt(count).putInt(flags).putLong(word);
    for (long value : body) {
      payload.putLong(value);
    }
    return records.check(guarded.place(payload.array(), payload.capacity()), payload.capacity());
  }

  private Reason check(int flags, int count) {
    ByteBuffer payload = ByteBuffer.allocate(PagesFrame.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    payload.putInt(count).putInt(flags);
    return records.check(guarded.place(payload.array(), payload.capacity()), payload.capacity());
  }
}
