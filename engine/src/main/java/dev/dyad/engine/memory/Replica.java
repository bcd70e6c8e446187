package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;

/**
 * The standby's copy of the guest's pages: takes PAGES frames that were checked before, in the order of the stream. Which of them may be
 * taken at all (whole epochs, or the baseline) is decided by {@link EpochReader}.
 *
 * <p>Thread: the standby's ship thread. Owns nothing: the memory belongs to the machine that waits. What leads outside of the layout, though it
 * cannot after the check, ends with an exception before anything is written there.
 */
public final class Replica {
  private final GuestMemory layout;
  private final long[] firstPage;
  private final long[] endPage;
  private final long[] blockVirt;
  private int lastBlock;

  /**
   * @param layout equal on both hosts
   * @param blockVirt for each of {@code layout.blocks()}, then for the machine state: where it is in this process
   */
  public Replica(GuestMemory layout, long[] blockVirt) {
    int blocks = layout.blocks().size() + 1;
    if (blockVirt.length != blocks) {
      throw new IllegalArgumentException(blockVirt.length + " addresses for " + blocks + " blocks, the machine state included");
    }
    this.layout = layout;
    this.blockVirt = blockVirt.clone();
    firstPage = new long[blocks];
    endPage = new long[blocks];
    for (int i = 0; i < blocks; i++) {
      GuestMemory.Block block = i < blocks - 1 ? layout.blocks().get(i) : layout.state();
      firstPage[i] = block.firstPage();
      endPage[i] = block.endPage();
    }
  }

  public GuestMemory layout() {
    return layout;
  }

  /** Where the machine state is. */
  public long stateVirt() {
    return blockVirt[blockVirt.length - 1];
  }

  /**
   * Applies the PAGES among the frames that start at {@code from} and passes over others.
   *
   * @param bytes where the frames end
   * @param budget stops after the frame with which this many bytes are done
   * @return bytes done, whole frames
   */
  long applyFrames(long from, long bytes, long budget) {
    long done = 0;
    while (done < bytes && done < budget) {
      long frame = from + done;
      int length = FrameHeader.length(frame);
      if (FrameHeader.type(frame) == FrameType.PAGES.code()) {
        applyPages(FrameHeader.payload(frame), length);
      }
      done += FrameHeader.BYTES + length;
    }
    return done;
  }

  /** Applies the payload of one PAGES frame, which must have been checked. */
  public void applyPages(long payload, int length) {
    long at = payload + PagesFrame.BYTES;
    long end = payload + length;
    while (at < end) {
      long word = Memory.getLong(at);
      at += PageRecord.BYTES;
      int kind = PageRecord.kind(word);
      int n = PageRecord.n(word);
      if (kind == PageRecord.DELTA) {
        PageDelta.apply(at, pagesVirt(PageRecord.page(word)));
        at += n;
      } else if (kind == PageRecord.RAW) {
        copy(PageRecord.page(word), n, at);
        at += n * (long) Pages.BYTES;
      } else if (kind == PageRecord.ZERO) {
        zero(PageRecord.page(word), n);
      }
    }
  }

  private void copy(long page, int count, long source) {
    for (int done = 0; done < count; ) {
      long to = pagesVirt(page + done);
      int run = (int) Math.min(count - done, endPage[lastBlock] - (page + done));
      Memory.copy(source + done * (long) Pages.BYTES, to, run * (long) Pages.BYTES);
      done += run;
    }
  }

  /** Does not write to what is zero already, so that a page that was never touched stays without memory. */
  private void zero(long page, int count) {
    for (int i = 0; i < count; i++) {
      long to = pagesVirt(page + i);
      if (!Pages.isZero(to)) {
        Memory.zero(to, Pages.BYTES);
      }
    }
  }

  /** Address of a page; leaves its block in {@link #lastBlock}. */
  private long pagesVirt(long page) {
    int block = lastBlock;
    if (page < firstPage[block] || page >= endPage[block]) {
      block = 0;
      while (block < firstPage.length && page >= endPage[block]) {
        block++;
      }
      if (block == firstPage.length) {
        throw new IllegalStateException("page " + page + " is outside of the guest's " + layout.pages() + " pages, though it was checked");
      }
      lastBlock = block;
    }
    return blockVirt[block] + (page - firstPage[block]) * Pages.BYTES;
  }
}
