package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;
import java.util.Arrays;

/**
 * Pages that were written in each of the last epochs: they stay writable and are sent with every epoch, which spares the guest a fault a page and
 * epoch.
 *
 * <p>KVM protects what it is told to, entry by entry of its ring, and has no call for any other page. So a page can be left out, and cannot be put back alone:
 * when too many of the pages have not changed for a while, {@link #isStale} asks for all to be protected anew.
 *
 * <p>One thread at a time. A small table remembers candidates; a page that is pushed out of it starts over. Nothing is allocated after construction.
 */
final class HotPages {
  /** Epochs in a row. */
  private static final int STREAK = 8;

  /** Each epoch looks at a part of the pages, so that each is looked at once in so many. */
  private static final int CHECK_EPOCHS = 64;

  private static final int CANDIDATES = 1 << 14;
  private static final int NONE = -1;

  private final long base;
  private final int[] pages;
  private final long[] sums;
  private final boolean[] changed;
  private int count;
  private int checked;

  private final PageSet members;
  private final int[] candidate = new int[CANDIDATES];
  private final int[] lastEpoch = new int[CANDIDATES];
  private final byte[] streak = new byte[CANDIDATES];
  private int epoch;

  HotPages(GuestRam ram, int pagesMax) {
    base = ram.hostVirt();
    pages = new int[pagesMax];
    sums = new long[pagesMax];
    changed = new boolean[pagesMax];
    members = new PageSet(ram.pages());
    Arrays.fill(candidate, NONE);
  }

  int count() {
    return count;
  }

  /** The page has just been found written and is protected no more: whether it is to stay so. */
  boolean keeps(long page) {
    if (members.contains(page)) {
      return true; // written by way of another mapping of the guest's
    }
    int slot = (int) page & CANDIDATES - 1;
    if (candidate[slot] != page || epoch - lastEpoch[slot] > 1) {
      candidate[slot] = (int) page;
      lastEpoch[slot] = epoch;
      streak[slot] = 1;
      return false;
    }
    if (lastEpoch[slot] != epoch) {
      lastEpoch[slot] = epoch;
      streak[slot]++;
    }
    if (streak[slot] < STREAK || count == pages.length) {
      streak[slot] = (byte) Math.min(streak[slot], STREAK);
      return false;
    }
    candidate[slot] = NONE;
    members.add(page);
    pages[count] = (int) page;
    changed[count] = true;
    sums[count++] = 0;
    return true;
  }

  /** An epoch ends: all of them are part of it. */
  void addTo(PageSet into) {
    epoch++;
    for (int i = 0; i < count; i++) {
      into.add(pages[i]);
    }
    for (int i = 0; i < (count + CHECK_EPOCHS - 1) / CHECK_EPOCHS; i++) {
      checked = checked + 1 >= count ? 0 : checked + 1;
      long sum = sum(base + ((long) pages[checked] << GuestMemory.PAGE_SHIFT));
      changed[checked] = sum != sums[checked];
      sums[checked] = sum;
    }
  }

  /** Whether the half of them is sent for nothing. */
  boolean isStale() {
    if (count == 0 || checked != 0) {
      return false; // looked at once a round
    }
    int idle = 0;
    for (int i = 0; i < count; i++) {
      idle += changed[i] ? 0 : 1;
    }
    return idle * 2 > count;
  }

  /** All are protected again. */
  void clear() {
    members.clear();
    count = 0;
    checked = 0;
  }

  /** Tells versions of a page apart; equal sums of different ones only cost a page that is protected too early. */
  private static long sum(long page) {
    long sum = 0;
    for (int at = 0; at < GuestMemory.PAGE_BYTES; at += Long.BYTES) {
      sum = sum * 31 + Memory.getLong(page + at);
    }
    return sum;
  }
}
