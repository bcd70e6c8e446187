package dev.dyad.engine.disk;

import java.util.BitSet;

/**
 * The blocks in which the two disks may differ if power is lost now. Each is in exactly these sets, whose union the metadata holds (as
 * active extent or as bit). Owned by a {@link MirroredDisk}; it knows why a block is marked, not how it gets across.
 *
 * <pre>
 *   dirty     the standby must get it: written while there was none, or found to differ
 *   compare   may differ: the other side marked it; asked by checksum first
 *   sent      it is in the ring or beyond, not known to be durable on both sides
 *   settling  as sent, and a checkpoint is under way after which it is durable on both
 *
 *   write, mirroring: → sent             sent → settling: a seal with CHECKPOINT
 *   write, alone:     → dirty            settling → ∅:    the standby says DURABLE and our own flush has ended
 *   copy:       dirty → sent             the standby is lost: sent, settling → dirty
 * </pre>
 */
final class DifferenceMarks {
  private final DiskGeometry geometry;
  private final BlockMap dirty;
  private final BlockMap compare;
  private BlockMap sent;
  private BlockMap settling;

  /** Changes with each checkpoint: which writes are from before the last one. */
  private int side;

  private final int[] writesOfSide = new int[2];

  /** Bitmap blocks on disk that may have bits which are marked no longer. */
  private final BitSet unclean;

  /**
   * @param restored what the metadata had marked; owned from now on
   */
  DifferenceMarks(DiskGeometry geometry, BlockMap restored) {
    this.geometry = geometry;
    dirty = restored;
    compare = newMap();
    sent = newMap();
    settling = newMap();
    unclean = new BitSet(geometry.bitmapBlocks());
  }

  private BlockMap newMap() {
    return new BlockMap(geometry.blocks(), geometry.blocksPerExtent());
  }

  BlockMap dirty() {
    return dirty;
  }

  BlockMap compare() {
    return compare;
  }

  /** Bits of 64 blocks for the metadata's bitmap. */
  long word(long block) {
    return dirty.word(block) | compare.word(block) | sent.word(block) | settling.word(block);
  }

  /** Blocks that the standby lacks or may lack. */
  long behind() {
    return dirty.count() + compare.count();
  }

  boolean isAnySent() {
    return !sent.isEmpty();
  }

  /** A write of the guest begins that is in the ring. */
  void mirrored(long offset, long bytes) {
    mark(sent, offset, bytes);
    unmarkWhole(dirty, offset, bytes);
    unmarkWhole(compare, offset, bytes);
  }

  /** A write of the guest begins that no standby hears of. */
  void alone(long offset, long bytes) {
    mark(dirty, offset, bytes);
  }

  private void mark(BlockMap set, long offset, long bytes) {
    int blockBytes = geometry.blockBytes();
    long first = offset / blockBytes;
    set.set(first, (offset + bytes + blockBytes - 1) / blockBytes - first);
  }

  private void unmarkWhole(BlockMap set, long offset, long bytes) {
    int blockBytes = geometry.blockBytes();
    long first = (offset + blockBytes - 1) / blockBytes;
    long end = (offset + bytes) / blockBytes;
    if (end > first) {
      set.clear(first, end - first);
    }
  }

  /** Blocks are in the ring as they are on the image. */
  void copied(long first, int count) {
    sent.set(first, count);
    dirty.clear(first, count);
  }

  /** A write to the image begins; the result goes to {@link #writeEnded}. */
  int writeBegun() {
    writesOfSide[side]++;
    return side;
  }

  void writeEnded(int ofSide) {
    writesOfSide[ofSide]--;
  }

  /** What was sent so far is to become durable on both sides. */
  void settle() {
    BlockMap empty = settling;
    settling = sent;
    sent = empty;
    side ^= 1;
  }

  /** Whether all writes from before {@link #settle} are on the image, so that a flush covers them. */
  boolean isSettlingWritten() {
    return writesOfSide[side ^ 1] == 0;
  }

  /** It is durable on both sides. */
  void settled() {
    unclean.set(0, geometry.bitmapBlocks());
    settling.clear();
  }

  /** The standby is lost: it may have all or nothing of what was sent. Its own marks it tells again when it comes back. */
  void lost() {
    dirty.addAll(sent);
    dirty.addAll(settling);
    sent.clear();
    settling.clear();
    compare.clear();
  }

  /** Takes back bits of the durable bitmap that are no longer needed, one block at a time. */
  void clean(DiskMetadata metadata) {
    int next = unclean.nextSetBit(0);
    while (next >= 0 && metadata.clean(next)) {
      unclean.clear(next);
      next = unclean.nextSetBit(next);
    }
  }

  @Override
  public String toString() {
    return "dirty " + dirty.count() + " compare " + compare.count() + " sent " + sent.count() + " settling " + settling.count();
  }
}
