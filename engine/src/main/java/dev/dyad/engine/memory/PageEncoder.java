package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;

/**
 * Turns pages into records in the payload of a PAGES frame, in the cheapest form each: unchanged, zero, difference, whole. Neighbours
 * of the same form share a record.
 *
 * <p>Thread: ship. Allocates nothing. Knows nothing of frames around the payload, of rings or epochs.
 */
public final class PageEncoder {
  /** Room that {@link #add} needs for one page of the worst form. */
  private static final int PAGE_ROOM_BYTES = PageRecord.BYTES + PageDelta.ROOM_BYTES;

  /** Least room of a payload: its head and one page. */
  public static final int ROOM_BYTES_MIN = PagesFrame.BYTES + PAGE_ROOM_BYTES;

  private final LastSent lastSent;

  private long payload;
  private long cursor;
  private long limit;
  private int records;
  private int pages;

  // the record that the next page may join
  private long openRecord;
  private long openNextPage = -1;
  private int openKind;

  private long zeroPages;
  private long samePages;
  private long deltaPages;
  private long rawPages;

  public PageEncoder(LastSent lastSent) {
    this.lastSent = lastSent;
  }

  /**
   * Starts a payload.
   *
   * @param payloadVirt its address
   * @param roomBytes at least {@link #ROOM_BYTES_MIN}
   */
  public void begin(long payloadVirt, int roomBytes) {
    if (roomBytes < ROOM_BYTES_MIN) {
      throw new IllegalArgumentException("room of " + roomBytes + " bytes: needed are " + ROOM_BYTES_MIN);
    }
    payload = payloadVirt;
    cursor = payloadVirt + PagesFrame.BYTES;
    limit = payloadVirt + roomBytes;
    records = 0;
    pages = 0;
    openNextPage = -1;
  }

  /**
   * Adds one page.
   *
   * @param page its number
   * @param source its content, which becomes the last sent version
   * @return false, with nothing done, when the payload may not have room for it
   */
  public boolean add(long page, long source) {
    if (limit - cursor < PAGE_ROOM_BYTES) {
      return false;
    }
    pages++;
    if (!lastSent.holds(page)) {
      addUnknown(page, source);
    } else if (Memory.equal(source, lastSent.versionVirt(page), Pages.BYTES)) {
      samePages++;
      extend(page, PageRecord.SAME);
    } else if (Pages.isZero(source)) {
      lastSent.put(page, source);
      zeroPages++;
      extend(page, PageRecord.ZERO);
    } else {
      addDifferent(page, source);
    }
    return true;
  }

  private void addUnknown(long page, long source) {
    lastSent.put(page, source);
    if (Pages.isZero(source)) {
      zeroPages++;
      extend(page, PageRecord.ZERO);
    } else {
      addWhole(page, source);
    }
  }

  private void addDifferent(long page, long source) {
    int bytes = PageDelta.encode(source, lastSent.versionVirt(page), cursor + PageRecord.BYTES);
    if (bytes == PageDelta.TOO_LONG) {
      lastSent.put(page, source);
      addWhole(page, source);
      return;
    }
    if (bytes > PageRecord.DELTA_BYTES_MAX) {
      addWhole(page, source); // over what was just written; the last version is up to date already
      return;
    }
    Memory.putLong(cursor, PageRecord.word(page, PageRecord.DELTA, bytes));
    cursor += PageRecord.BYTES + bytes;
    records++;
    openNextPage = -1;
    deltaPages++;
  }

  private void addWhole(long page, long source) {
    extend(page, PageRecord.RAW);
    Memory.copy(source, cursor, Pages.BYTES);
    cursor += Pages.BYTES;
    rawPages++;
  }

  /** One more page for the open record, or a new record. */
  private void extend(long page, int kind) {
    if (openNextPage == page && openKind == kind) {
      Memory.putLong(openRecord, Memory.getLong(openRecord) + 1); // n stays far below its bound: a frame's pages do
    } else {
      openRecord = cursor;
      openKind = kind;
      Memory.putLong(cursor, PageRecord.word(page, kind, 1));
      cursor += PageRecord.BYTES;
      records++;
    }
    openNextPage = page + 1;
  }

  /**
   * Completes the payload.
   *
   * @param flags {@link PagesFrame#BASELINE} or 0
   * @return its bytes
   */
  public int end(int flags) {
    PagesFrame.write(payload, records, flags);
    return (int) (cursor - payload);
  }

  /** Pages in the payload so far. */
  public int pages() {
    return pages;
  }

  /** Pages over all payloads that were sent as a mere count because they are zero. */
  public long zeroPages() {
    return zeroPages;
  }

  /** Pages over all payloads that were reported as written and had not changed. */
  public long samePages() {
    return samePages;
  }

  public long deltaPages() {
    return deltaPages;
  }

  public long rawPages() {
    return rawPages;
  }
}
