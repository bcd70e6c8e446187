package dev.dyad.engine.disk;

/**
 * How a disk is divided, and where its metadata lies.
 *
 * <pre>
 *   metadata file, in blocks of 4 KiB:
 *   | superblock A | superblock B | activity log page 0 A, 0 B, 1 A, 1 B ... | bitmap, one bit for each block ... |
 * </pre>
 *
 * @param bytes size of the image
 * @param blockBytes what is marked and copied: a power of two
 * @param extentBytes what the activity log names: a power of two, at least 64 blocks
 * @param activeExtents how many extents may be written to without a metadata write in between; after a crash that many are compared
 */
public record DiskGeometry(long bytes, int blockBytes, int extentBytes, int activeExtents) {
  public static final int META_BLOCK = 4096;

  /** Entries of one activity log page: a head of 32 bytes, then numbers of 4. */
  static final int ENTRIES_PER_PAGE = (META_BLOCK - 32) / 4;

  private static final int SUPERBLOCKS = 2;
  private static final int BITS_PER_META_BLOCK = META_BLOCK * 8;

  public DiskGeometry {
    require(Integer.bitCount(blockBytes) == 1 && blockBytes >= 512, "blockBytes", blockBytes, "a power of two of at least 512");
    require(Integer.bitCount(extentBytes) == 1 && extentBytes / blockBytes >= 64, "extentBytes", extentBytes, "a power of two, at least 64 blocks");
    require(bytes > 0 && bytes % blockBytes == 0, "bytes", bytes, "a positive multiple of " + blockBytes);
    require(bytes / blockBytes <= 1L << 36 && bytes / extentBytes < Integer.MAX_VALUE / 64, "bytes", bytes, "fewer extents");
    require(activeExtents >= 2 && activeExtents <= 64 * ENTRIES_PER_PAGE, "activeExtents", activeExtents, "2 to " + 64 * ENTRIES_PER_PAGE);
  }

  /** 4 KiB blocks, 4 MiB extents, 4,064 of them (15.9 GiB) active. */
  public static DiskGeometry of(long bytes) {
    return new DiskGeometry(bytes, 4096, 4 << 20, 4 * ENTRIES_PER_PAGE);
  }

  public long blocks() {
    return bytes / blockBytes;
  }

  public int extents() {
    return (int) ((bytes + extentBytes - 1) / extentBytes);
  }

  public int blocksPerExtent() {
    return extentBytes / blockBytes;
  }

  int activityPages() {
    return (activeExtents + ENTRIES_PER_PAGE - 1) / ENTRIES_PER_PAGE;
  }

  long activityOffset(int page, int copy) {
    return (SUPERBLOCKS + 2L * page + copy) * META_BLOCK;
  }

  int bitmapBlocks() {
    return (int) ((blocks() + BITS_PER_META_BLOCK - 1) / BITS_PER_META_BLOCK);
  }

  long bitmapOffset(int index) {
    return (SUPERBLOCKS + 2L * activityPages() + index) * META_BLOCK;
  }

  /** Bitmap block in which the blocks of that extent are; extents never lie in two. */
  int bitmapBlockOf(int extent) {
    return (int) ((long) extent * blocksPerExtent() / BITS_PER_META_BLOCK);
  }

  long firstBlockOfBitmap(int index) {
    return (long) index * BITS_PER_META_BLOCK;
  }

  /** Size that the metadata file needs. */
  public long metadataBytes() {
    return bitmapOffset(bitmapBlocks());
  }

  private static void require(boolean holds, String name, long value, String needed) {
    if (!holds) {
      throw new IllegalArgumentException(name + " is " + value + ", needed: " + needed);
    }
  }
}
