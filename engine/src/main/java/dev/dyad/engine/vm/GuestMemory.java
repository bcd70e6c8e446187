package dev.dyad.engine.vm;

import java.util.ArrayList;
import java.util.List;

/**
 * The replicated memory of one virtual machine as one flat space of 4 KiB pages.
 *
 * <p>Every writable RAM block of the guest gets a contiguous range of page numbers; the machine state (vCPUs, interrupt
 * chips, devices) follows as the last block, so that it is shipped by the same records as memory. Page numbers are the only
 * addresses that cross a host boundary: both sides compute them from the same list of names and sizes.
 */
public final class GuestMemory {
  public static final int PAGE_BYTES = 4096;
  public static final int PAGE_SHIFT = 12;

  /** Bound of the flat space: 2^36 pages (256 TiB), so that a page and a run length fit one long. */
  public static final long PAGES_MAX = 1L << 36;

  /**
   * One block.
   *
   * @param name the hypervisor's own name of it, equal on both hosts
   * @param bytes its size, a multiple of 4 KiB
   * @param firstPage number of its first page in the flat space
   */
  public record Block(String name, long bytes, long firstPage) {
    public long pages() {
      return bytes >>> PAGE_SHIFT;
    }

    public long endPage() {
      return firstPage + pages();
    }
  }

  private final List<Block> blocks;
  private final Block state;

  private GuestMemory(List<Block> blocks, Block state) {
    this.blocks = List.copyOf(blocks);
    this.state = state;
  }

  /** RAM blocks in their order, without the machine state. */
  public List<Block> blocks() {
    return blocks;
  }

  /** The block that holds the machine state; its size is a bound, an epoch says how much of it is used. */
  public Block state() {
    return state;
  }

  /** Number of pages in the flat space, machine state included. */
  public long pages() {
    return state.endPage();
  }

  /** Number of pages of guest RAM, machine state not included. */
  public long ramPages() {
    return state.firstPage();
  }

  public static Builder builder() {
    return new Builder();
  }

  /** Collects blocks in the order in which the hypervisor reports them. */
  public static final class Builder {
    private final List<Block> blocks = new ArrayList<>();
    private long nextPage;

    public Builder block(String name, long bytes) {
      blocks.add(append(name, bytes));
      return this;
    }

    /**
     * @param stateBytesMax bound of the machine state, a multiple of 4 KiB
     */
    public GuestMemory build(long stateBytesMax) {
      return new GuestMemory(blocks, append("dyad.state", stateBytesMax));
    }

    private Block append(String name, long bytes) {
      if (bytes <= 0 || bytes % PAGE_BYTES != 0) {
        throw new IllegalArgumentException("block " + name + ": " + bytes + " bytes is not a positive multiple of 4096");
      }
      Block block = new Block(name, bytes, nextPage);
      nextPage = block.endPage();
      if (nextPage > PAGES_MAX) {
        throw new IllegalArgumentException("guest memory of " + nextPage + " pages exceeds the bound of " + PAGES_MAX);
      }
      return block;
    }
  }
}
