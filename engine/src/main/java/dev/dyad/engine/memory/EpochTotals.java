package dev.dyad.engine.memory;

import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.SealFrame;

/**
 * What has arrived of the open epoch, against what its seal says. The first epoch of a session is the baseline and has the flag; the others
 * follow by one and have not.
 *
 * <p>One thread; no allocation.
 */
final class EpochTotals {
  private static final long ANY = -1;

  private long due = ANY;
  private boolean baseline = true;
  private long pages;
  private long bytes;
  private long frames;

  private long sentNanos;
  private int stateBytes;
  private long found;
  private long needed;

  /** Counts a PAGES frame whose records were found good. */
  Reason add(long epoch, long payload, int length, long pagesOfFrame) {
    Reason wrong = inOrder(epoch, PagesFrame.flags(payload));
    if (wrong == Reason.NONE) {
      pages += pagesOfFrame;
      bytes += length;
      frames++;
    }
    return wrong;
  }

  /** Compares with a SEAL; when that is right, the next epoch is open and empty. */
  Reason seal(long epoch, long payload, int length, long stateBytesMax) {
    if (length != SealFrame.BYTES) {
      return refuse(Reason.TRUNCATED, length, SealFrame.BYTES);
    }
    Reason wrong = inOrder(epoch, SealFrame.flags(payload));
    if (wrong != Reason.NONE) {
      return wrong;
    }
    if (SealFrame.pages(payload) != pages) {
      return refuse(Reason.SEAL_PAGES, pages, SealFrame.pages(payload));
    }
    if (SealFrame.bytes(payload) != bytes) {
      return refuse(Reason.SEAL_BYTES, bytes, SealFrame.bytes(payload));
    }
    if (SealFrame.frames(payload) != frames) {
      return refuse(Reason.SEAL_FRAMES, frames, SealFrame.frames(payload));
    }
    if (SealFrame.stateBytes(payload) < 0 || SealFrame.stateBytes(payload) > stateBytesMax) {
      return refuse(Reason.STATE_BYTES, Integer.toUnsignedLong(SealFrame.stateBytes(payload)), stateBytesMax);
    }
    sentNanos = SealFrame.sentNanos(payload);
    stateBytes = SealFrame.stateBytes(payload);
    due = epoch + 1;
    baseline = false;
    pages = 0;
    bytes = 0;
    frames = 0;
    return Reason.NONE;
  }

  private Reason inOrder(long epoch, int flags) {
    if (due == ANY && epoch >= 0) {
      due = epoch;
    }
    if (epoch < 0 || epoch != due) {
      return refuse(Reason.EPOCH, epoch, due);
    }
    int flagsDue = baseline ? PagesFrame.BASELINE : 0;
    return flags == flagsDue ? Reason.NONE : refuse(Reason.BASELINE, Integer.toUnsignedLong(flags), flagsDue);
  }

  private Reason refuse(Reason why, long numberFound, long numberNeeded) {
    found = numberFound;
    needed = numberNeeded;
    return why;
  }

  /** Whether nothing of the open epoch has arrived. */
  boolean isEmpty() {
    return frames == 0;
  }

  /** Of the last seal. */
  long sentNanos() {
    return sentNanos;
  }

  /** Of the last seal. */
  int stateBytes() {
    return stateBytes;
  }

  long found() {
    return found;
  }

  long needed() {
    return needed;
  }
}
