package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.Arrays;

/**
 * The versions of pages that were last put into a link's stream, as many as fit: a direct-mapped cache by page number.
 *
 * <p>The standby applies the stream in its order, so at every point of the stream it holds exactly the version that was put there last;
 * a difference against that version is right whatever epoch either belongs to. A page that is not here (never sent, or pushed out by
 * another) is sent whole, which is always right. When the stream ends, all of this is void: {@link #clear}.
 *
 * <p>Thread: ship. Owns its memory.
 */
public final class LastSent implements AutoCloseable {
  private static final long NONE = -1;

  private final Mapping mapping;
  private final long[] pageOfSlot;
  private final int mask;

  /**
   * @param bytes memory for versions, rounded down to a power of two of pages; at least one page
   */
  public LastSent(long bytes) {
    long pages = Long.highestOneBit(bytes / Pages.BYTES);
    if (pages < 1 || pages > 1 << 28) {
      throw new IllegalArgumentException("a cache of " + bytes + " bytes: needed is one page (4096) to 1 TiB");
    }
    mapping = Mapping.anonymousLarge(pages * Pages.BYTES);
    pageOfSlot = new long[(int) pages];
    mask = (int) pages - 1;
    clear();
  }

  /** Forgets everything. */
  public void clear() {
    Arrays.fill(pageOfSlot, NONE);
  }

  boolean holds(long page) {
    return pageOfSlot[slot(page)] == page;
  }

  /** Where the version of {@code page} is, or would be. */
  long versionVirt(long page) {
    return mapping.hostVirt() + slot(page) * (long) Pages.BYTES;
  }

  void put(long page, long sourceVirt) {
    Memory.copy(sourceVirt, versionVirt(page), Pages.BYTES);
    pageOfSlot[slot(page)] = page;
  }

  private int slot(long page) {
    return (int) page & mask;
  }

  @Override
  public void close() {
    mapping.close();
  }
}
