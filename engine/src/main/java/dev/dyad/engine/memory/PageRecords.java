package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;

/**
 * Checks the payload of a PAGES frame to its last byte, so that applying it later cannot fail. Writes nothing.
 *
 * <p>One thread; no allocation.
 */
final class PageRecords {
  private final long layoutPages;

  private Reason refusal = Reason.NONE;
  private long pages;
  private long found;
  private long needed;

  /**
   * @param layoutPages size of the flat page space
   */
  PageRecords(long layoutPages) {
    this.layoutPages = layoutPages;
  }

  /**
   * @param payload address of the payload
   * @param length its bytes, a multiple of 8
   * @return {@link Reason#NONE}, or why not: {@link #found}, {@link #needed}
   */
  Reason check(long payload, int length) {
    pages = 0;
    if (length < PagesFrame.BYTES) {
      return refuse(Reason.TRUNCATED, length, PagesFrame.BYTES);
    }
    if ((PagesFrame.flags(payload) & ~PagesFrame.BASELINE) != 0) {
      return refuse(Reason.FLAGS, Integer.toUnsignedLong(PagesFrame.flags(payload)), PagesFrame.BASELINE);
    }
    int records = 0;
    int at = PagesFrame.BYTES;
    while (at < length) {
      long word = Memory.getLong(payload + at);
      at += PageRecord.BYTES;
      int body = checkRecord(word, payload + at, length - at);
      if (body < 0) {
        return refusal;
      }
      at += body;
      records++;
    }
    if (records != PagesFrame.records(payload)) {
      return refuse(Reason.RECORD_LENGTH, Integer.toUnsignedLong(PagesFrame.records(payload)), records);
    }
    return Reason.NONE;
  }

  /** Bytes of the record's body, or −1 with the reason set. */
  private int checkRecord(long word, long body, int left) {
    int kind = PageRecord.kind(word);
    int n = PageRecord.n(word);
    int count = kind == PageRecord.DELTA ? 1 : n;
    long page = PageRecord.page(word);
    if (kind < PageRecord.ZERO || kind > PageRecord.DELTA) {
      refuse(Reason.RECORD_KIND, kind, PageRecord.DELTA);
      return -1;
    }
    if (count == 0 || page + count > layoutPages) {
      refuse(Reason.PAGE_OUTSIDE, page + Math.max(0, count - 1), layoutPages);
      return -1;
    }
    long bytes = kind == PageRecord.RAW ? (long) n * Pages.BYTES : kind == PageRecord.DELTA ? n : 0;
    if (bytes > left) {
      refuse(Reason.RECORD_LENGTH, bytes, left);
      return -1;
    }
    if (kind == PageRecord.DELTA && (n % 8 != 0 || PageDelta.bytesNeeded(body, n) != n)) {
      refuse(Reason.DELTA, n, n % 8 != 0 ? 0 : PageDelta.bytesNeeded(body, n));
      return -1;
    }
    pages += count;
    return (int) bytes;
  }

  private Reason refuse(Reason why, long numberFound, long numberNeeded) {
    refusal = why;
    found = numberFound;
    needed = numberNeeded;
    return why;
  }

  /** Pages of the payload last checked. */
  long pages() {
    return pages;
  }

  long found() {
    return found;
  }

  long needed() {
    return needed;
  }
}
