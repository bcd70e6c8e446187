package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.Crc32c;
import java.util.Arrays;

/**
 * Which extents may be written now. An extent becomes active in a transaction that is durable before its first write, so that after a
 * crash the active ones name every place in which this side may be ahead of, or behind, the other.
 *
 * <p>Pure: it decides and encodes, {@link DiskMetadata} writes. Places are bounded; an extent that nobody writes at the moment gives its
 * place up, the one that was used longest ago first, after its marks are durable in the bitmap.
 *
 * <p>A page has two copies on disk, written in turn: a torn write leaves the older one, which names everything that was active
 * before, and what the transaction added was not written yet.
 *
 * <pre>
 *   page:  0       4     8          16      20      24      32
 *          | magic | crc | sequence | page  | count | zero  | extent numbers, −1 for a free place ...
 * </pre>
 */
final class ActivityLog {
  static final int TRANSACTION_MAX = 64;

  private static final int MAGIC = 0x41445944; // "DYDA"
  private static final int FREE = -1;
  private static final int CRC_FROM = 8;

  private final int[] extentAt;
  private final int[] placeOf;
  private final int[] writers;
  private final long[] lastUse;
  private final long[] pageSequence;
  private final boolean[] pageTouched;
  private final int[] wanted = new int[TRANSACTION_MAX];
  private final int[] stagedPlace = new int[TRANSACTION_MAX];
  private final int[] stagedVictim = new int[TRANSACTION_MAX];
  private final boolean[] staged;
  private int wantedCount;
  private int keepFirst;
  private int keepLast = FREE;
  private int stagedCount;
  private long uses;

  ActivityLog(DiskGeometry geometry) {
    extentAt = new int[geometry.activeExtents()];
    placeOf = new int[geometry.extents()];
    writers = new int[geometry.activeExtents()];
    lastUse = new long[geometry.activeExtents()];
    staged = new boolean[geometry.activeExtents()];
    pageSequence = new long[geometry.activityPages()];
    pageTouched = new boolean[geometry.activityPages()];
    Arrays.fill(extentAt, FREE);
    Arrays.fill(placeOf, FREE);
  }

  /** Whether the extent is durably recorded, so that it may be written. */
  boolean isActive(int extent) {
    int place = placeOf[extent];
    return place != FREE && !staged[place];
  }

  /** A write to an active extent begins: it keeps its place. */
  void hold(int extent) {
    int place = placeOf[extent];
    writers[place]++;
    lastUse[place] = ++uses;
  }

  /** That write has ended. */
  void letGo(int extent) {
    writers[placeOf[extent]]--;
  }

  /** The requests that wait are about to ask, the oldest first. */
  void askAnew() {
    wantedCount = 0;
    keepLast = FREE;
  }

  /**
   * A request asks for its extents. Those that the first one that waits has already, it keeps until it has the others too; else two
   * that need each other's places swap them for ever. Those that overtake it do not starve it: 256 transfers hold at most 512 of 4,064
   * places; only discards of gigabytes, one beside the other and without end, could.
   *
   * @return whether all of them may be written now
   */
  boolean ask(int first, int last) {
    boolean active = true;
    for (int extent = first; extent <= last; extent++) {
      if (!isActive(extent)) {
        want(extent);
        active = false;
      }
    }
    if (!active && keepLast == FREE) {
      keepFirst = first;
      keepLast = last;
    }
    return active;
  }

  /** Asks for an extent in the next transaction; does nothing when it is asked for already or the transaction is full. */
  void want(int extent) {
    if (placeOf[extent] != FREE) {
      lastUse[placeOf[extent]] = ++uses;
      return;
    }
    for (int i = 0; i < wantedCount; i++) {
      if (wanted[i] == extent) {
        return;
      }
    }
    if (wantedCount < TRANSACTION_MAX) {
      wanted[wantedCount++] = extent;
    }
  }

  boolean isWanted() {
    return wantedCount > 0;
  }

  /**
   * Gives places to what was asked for, as far as there are any.
   *
   * @return number of extents in the transaction; 0 when every place is being written
   */
  int stage() {
    for (int i = 0; i < wantedCount; i++) {
      int place = freePlace();
      if (place == FREE) {
        break;
      }
      int victim = extentAt[place];
      if (victim != FREE) {
        placeOf[victim] = FREE;
      }
      extentAt[place] = wanted[i];
      placeOf[wanted[i]] = place;
      staged[place] = true;
      lastUse[place] = ++uses;
      pageTouched[place / DiskGeometry.ENTRIES_PER_PAGE] = true;
      stagedPlace[stagedCount] = place;
      stagedVictim[stagedCount++] = victim;
    }
    wantedCount = 0; // whoever still waits asks again
    return stagedCount;
  }

  private int freePlace() {
    int best = FREE;
    for (int place = 0; place < extentAt.length; place++) {
      if (extentAt[place] == FREE) {
        return place;
      }
      if (writers[place] == 0 && !staged[place] && !isKept(extentAt[place]) && (best == FREE || lastUse[place] < lastUse[best])) {
        best = place;
      }
    }
    return best;
  }

  private boolean isKept(int extent) {
    return extent >= keepFirst && extent <= keepLast;
  }

  /** The extent that lost its place to entry {@code index} of the transaction, or −1. */
  int victim(int index) {
    return stagedVictim[index];
  }

  boolean isPageTouched(int page) {
    return pageTouched[page];
  }

  /** Copy (0 or 1) to which the next encoding of the page belongs. */
  int nextCopy(int page) {
    return (int) ((pageSequence[page] + 1) & 1);
  }

  void encode(int page, long at) {
    pageSequence[page]++;
    pageTouched[page] = false;
    int first = page * DiskGeometry.ENTRIES_PER_PAGE;
    int count = Math.min(DiskGeometry.ENTRIES_PER_PAGE, extentAt.length - first);
    Memory.fill(at, DiskGeometry.META_BLOCK, (byte) 0);
    Memory.putInt(at, MAGIC);
    Memory.putLong(at + 8, pageSequence[page]);
    Memory.putInt(at + 16, page);
    Memory.putInt(at + 20, count);
    for (int i = 0; i < count; i++) {
      Memory.putInt(at + 32 + 4L * i, extentAt[first + i]);
    }
    Memory.putInt(at + 4, crc(at));
  }

  /** The transaction is durable: its extents may be written. */
  void commit() {
    for (int i = 0; i < stagedCount; i++) {
      staged[stagedPlace[i]] = false;
    }
    stagedCount = 0;
  }

  /** Forgets every extent; the next encoding of each page says so. */
  void clear() {
    Arrays.fill(extentAt, FREE);
    Arrays.fill(placeOf, FREE);
    Arrays.fill(pageTouched, true);
  }

  /**
   * Takes a page from the newer of its two copies.
   *
   * @return false when neither copy is good
   */
  boolean decode(int page, long copyA, long copyB) {
    long a = isGood(page, copyA) ? Memory.getLong(copyA + 8) : -1;
    long b = isGood(page, copyB) ? Memory.getLong(copyB + 8) : -1;
    if (a < 0 && b < 0) {
      return false;
    }
    long at = a > b ? copyA : copyB;
    pageSequence[page] = Math.max(a, b);
    int first = page * DiskGeometry.ENTRIES_PER_PAGE;
    int count = Memory.getInt(at + 20);
    for (int i = 0; i < count; i++) {
      int extent = Memory.getInt(at + 32 + 4L * i);
      if (extent != FREE) {
        extentAt[first + i] = extent;
        placeOf[extent] = first + i;
      }
    }
    return true;
  }

  private boolean isGood(int page, long at) {
    int count = Memory.getInt(at + 20);
    int room = Math.min(DiskGeometry.ENTRIES_PER_PAGE, extentAt.length - page * DiskGeometry.ENTRIES_PER_PAGE);
    if (Memory.getInt(at) != MAGIC || Memory.getInt(at + 4) != crc(at) || Memory.getInt(at + 16) != page || count != room) {
      return false;
    }
    for (int i = 0; i < count; i++) {
      int extent = Memory.getInt(at + 32 + 4L * i);
      if (extent < FREE || extent >= placeOf.length) {
        return false;
      }
    }
    return true;
  }

  private static int crc(long at) {
    return Crc32c.ofSmall(at + CRC_FROM, DiskGeometry.META_BLOCK - CRC_FROM);
  }

  /** The active extents, as a new array; for the start and for a peer. */
  int[] active() {
    return Arrays.stream(extentAt).filter(extent -> extent != FREE).sorted().toArray();
  }
}
