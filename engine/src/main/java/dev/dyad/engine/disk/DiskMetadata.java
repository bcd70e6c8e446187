package dev.dyad.engine.disk;

import static dev.dyad.engine.disk.BlockDevice.FUA;
import static dev.dyad.engine.disk.BlockDevice.READ;
import static dev.dyad.engine.disk.BlockDevice.WRITE;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * What a disk durably knows of itself: generation identifiers and flags, active extents, and a bitmap of blocks that the other side
 * may lack. Owns the metadata device and all writes to it; never blocks after {@link #open}.
 *
 * <p>Writes are FUA. The superblock and the activity log are independent of each other; within an activity log transaction the bitmap
 * blocks of extents that lose their place are durable before the page that drops them.
 */
final class DiskMetadata implements BlockDevice.Completions, AutoCloseable {

  /** Where the bits of a bitmap block come from. */
  interface Marks {
    /** Bits of the 64 blocks from {@code block} on. */
    long marked(long block);
  }

  private static final long TAG_SUPERBLOCK = 1;
  private static final long TAG_BITMAP = 2;
  private static final long TAG_PAGE = 3;
  private static final long TAG_CLEAN = 4;
  private static final int BLOCK = DiskGeometry.META_BLOCK;

  private enum Phase {
    IDLE,
    BITMAPS,
    PAGES
  }

  private final BlockDevice device;
  private final DiskGeometry geometry;
  private final ActivityLog activity;
  private Marks marks;
  private final Mapping memory;
  private final long superblockBuffer;
  private final long pageBuffers;
  private final long bitmapBuffers;
  private final long cleanBuffer;
  private final boolean[] bitmapChosen;

  /** Whether that bitmap block may have bits on disk; most never have, since an extent's marks go there only when it loses its place. */
  private final boolean[] bitmapHasBits;

  private long setIdLow;
  private long setIdHigh;

  private Generations generations;
  private int flags;
  private long logId;
  private long superblockSequence;
  private boolean superblockWriting;
  private long superblockWritten;
  private long superblockWanted;
  private Phase phase = Phase.IDLE;
  private int stagedCount;
  private int outstanding;
  private int nextBitmap;
  private boolean cleaning;
  private int cleanBlock;
  private boolean cleanKeepsBits;
  private int error;

  private DiskMetadata(BlockDevice device, DiskGeometry geometry, Marks marks, Mapping memory, long superblock) {
    this.device = device;
    this.geometry = geometry;
    this.marks = marks;
    this.memory = memory;
    activity = new ActivityLog(geometry);
    superblockBuffer = memory.hostVirt();
    pageBuffers = superblockBuffer + 2L * BLOCK;
    bitmapBuffers = pageBuffers + 2L * geometry.activityPages() * BLOCK;
    cleanBuffer = bitmapBuffers + (long) ActivityLog.TRANSACTION_MAX * BLOCK;
    bitmapChosen = new boolean[geometry.bitmapBlocks()];
    bitmapHasBits = new boolean[geometry.bitmapBlocks()];
    setIdLow = Superblock.setIdLow(superblock);
    setIdHigh = Superblock.setIdHigh(superblock);
    generations = Superblock.generations(superblock);
    flags = Superblock.flags(superblock);
    logId = Superblock.logId(superblock);
    superblockSequence = Superblock.sequence(superblock);
  }

  private static long memoryBytes(DiskGeometry geometry) {
    return (2L + 2L * geometry.activityPages() + ActivityLog.TRANSACTION_MAX + 1) * BLOCK;
  }

  /**
   * Writes new metadata over whatever is there. Waits.
   *
   * @param setId equal on both disks of a pair
   */
  static void format(BlockDevice device, DiskGeometry geometry, long setIdLow, long setIdHigh, Generations generations) {
    if (device.bytes() < geometry.metadataBytes()) {
      throw new DiskRefusedException(
          "the metadata device has " + device.bytes() + " bytes, needed are " + geometry.metadataBytes() + " for this image");
    }
    try (Mapping memory = Mapping.anonymous(memoryBytes(geometry))) {
      long at = memory.hostVirt();
      for (int i = 0; i < geometry.bitmapBlocks(); i++) {
        await(device, WRITE, geometry.bitmapOffset(i), at);
      }
      ActivityLog empty = new ActivityLog(geometry);
      for (int page = 0; page < geometry.activityPages(); page++) {
        for (int copy = 0; copy < 2; copy++) {
          int next = empty.nextCopy(page);
          empty.encode(page, at);
          await(device, WRITE, geometry.activityOffset(page, next), at);
        }
      }
      // The copy that will be overwritten next first, so that a crash in between leaves blanks, not halves.
      for (int sequence = 1; sequence <= 2; sequence++) {
        Superblock.write(at, geometry, sequence, 0, setIdLow, setIdHigh, generations, 0);
        await(device, WRITE, (long) (sequence & 1) * BLOCK, at);
      }
    }
  }

  /** Whether nothing was ever written where the superblocks go. Waits. */
  static boolean isBlank(BlockDevice device) {
    try (Mapping memory = Mapping.anonymous(BLOCK)) {
      long at = memory.hostVirt();
      for (int copy = 0; copy < 2; copy++) {
        await(device, READ, (long) copy * BLOCK, at);
        if (!Superblock.isBlank(at)) {
          return false;
        }
      }
      return true;
    }
  }

  /**
   * Reads the metadata of an image. Waits.
   *
   * @param imageBytes size of the image, which must be the one that the metadata tells
   * @param marks asked for the content of bitmap blocks from now on
   * @param restored gets every block that is marked or in an active extent
   * @throws DiskRefusedException foreign, damaged, of another version or for another size; the device is closed then
   */
  static DiskMetadata open(BlockDevice device, long imageBytes, Marks marks, java.util.function.Function<DiskGeometry, BlockMap> restored) {
    try {
      return read(device, imageBytes, marks, restored);
    } catch (RuntimeException e) {
      device.close();
      throw e;
    }
  }

  private static DiskMetadata read(BlockDevice device, long imageBytes, Marks marks, java.util.function.Function<DiskGeometry, BlockMap> restored) {
    try (Mapping two = Mapping.anonymous(2L * BLOCK)) {
      long at = two.hostVirt();
      String[] faults = new String[2];
      long newest = 0;
      for (int copy = 0; copy < 2; copy++) {
        long here = at + (long) copy * BLOCK;
        await(device, READ, (long) copy * BLOCK, here);
        faults[copy] = Superblock.fault(here);
        if (faults[copy].isEmpty() && (newest == 0 || Superblock.sequence(here) > Superblock.sequence(newest))) {
          newest = here;
        }
      }
      if (newest == 0) {
        throw new DiskRefusedException("disk metadata: " + faults[0] + " (second copy: " + faults[1] + ")");
      }
      if (Superblock.bytes(newest) != imageBytes) {
        throw new DiskRefusedException(
            "the image has " + imageBytes + " bytes, its metadata is of one with " + Superblock.bytes(newest) + ": use the image that it belongs to");
      }
      DiskGeometry geometry;
      try {
        geometry = Superblock.geometry(newest);
      } catch (IllegalArgumentException e) {
        throw new DiskRefusedException("disk metadata: " + e.getMessage());
      }
      Mapping memory = Mapping.anonymous(memoryBytes(geometry));
      DiskMetadata metadata = new DiskMetadata(device, geometry, marks, memory, newest);
      try {
        metadata.restore(restored.apply(geometry));
        SyncIo.flush(device); // what was read counts as durable from now on; a process that died may have left it in the cache
      } catch (RuntimeException e) {
        memory.close();
        throw e;
      }
      return metadata;
    }
  }

  private void restore(BlockMap into) {
    long copyA = pageBuffers;
    long copyB = pageBuffers + BLOCK;
    for (int page = 0; page < geometry.activityPages(); page++) {
      await(device, READ, geometry.activityOffset(page, 0), copyA);
      await(device, READ, geometry.activityOffset(page, 1), copyB);
      if (!activity.decode(page, copyA, copyB)) {
        throw new DiskRefusedException(
            "disk metadata: both copies of activity log page " + page + " are damaged: level this side from the other (dyad disk reset)");
      }
    }
    for (int i = 0; i < geometry.bitmapBlocks(); i++) {
      await(device, READ, geometry.bitmapOffset(i), copyA);
      long first = geometry.firstBlockOfBitmap(i);
      for (int word = 0; word < BLOCK / 8; word++) {
        long bits = Memory.getLong(copyA + 8L * word);
        bitmapHasBits[i] |= bits != 0;
        while (bits != 0) {
          long block = first + word * 64L + Long.numberOfTrailingZeros(bits);
          if (block < geometry.blocks()) {
            into.set(block, 1);
          }
          bits &= bits - 1;
        }
      }
    }
    for (int extent : activity.active()) {
      into.set((long) extent * geometry.blocksPerExtent(), geometry.blocksPerExtent());
    }
  }

  private static void await(BlockDevice device, int op, long offset, long at) {
    SyncIo.run(device, op, op == WRITE ? FUA : 0, offset, BLOCK, at);
  }

  /** The one whose marks are written from now on. */
  void marks(Marks source) {
    marks = source;
  }

  /** Becomes one of that pair; durable with the next {@link #update}. */
  void join(long newSetIdLow, long newSetIdHigh) {
    setIdLow = newSetIdLow;
    setIdHigh = newSetIdHigh;
  }

  DiskGeometry geometry() {
    return geometry;
  }

  ActivityLog activity() {
    return activity;
  }

  Generations generations() {
    return generations;
  }

  long setIdLow() {
    return setIdLow;
  }

  long setIdHigh() {
    return setIdHigh;
  }

  boolean has(int flag) {
    return (flags & flag) != 0;
  }

  long logId() {
    return logId;
  }

  /** First error of the metadata device; it takes nothing any more afterwards. */
  int error() {
    return error;
  }

  /**
   * Changes the superblock.
   *
   * @return a ticket for {@link #isDurable}
   */
  long update(Generations newGenerations, int set, int unset, long newLogId) {
    generations = newGenerations;
    flags = (flags | set) & ~unset;
    logId = newLogId;
    return ++superblockWanted;
  }

  boolean isDurable(long ticket) {
    return superblockWritten >= ticket;
  }

  /** Whether nothing is being written or waits to be. */
  boolean isIdle() {
    return phase == Phase.IDLE && !superblockWriting && !cleaning && superblockWritten == superblockWanted && !activity.isWanted();
  }

  /** Writes a bitmap block that has bits as the marks are now, to take back those that are no longer needed. False while one is under way. */
  boolean clean(int bitmapBlock) {
    if (!bitmapHasBits[bitmapBlock]) {
      return true;
    }
    if (cleaning || phase != Phase.IDLE || error != 0) {
      return false;
    }
    cleanKeepsBits = fill(bitmapBlock, cleanBuffer);
    cleanBlock = bitmapBlock;
    cleaning = device.submit(WRITE, FUA, geometry.bitmapOffset(bitmapBlock), BLOCK, cleanBuffer, TAG_CLEAN);
    return cleaning;
  }

  /** Waits for something to complete, at most that long; for a thread that has nothing else to do. */
  void await(long nanos) {
    device.await(nanos);
  }

  /** Names what wakes when something has completed. */
  void rest(DiskRest rest) {
    device.rest(rest);
  }

  int poll() {
    if (error != 0) {
      return device.poll(this);
    }
    if (!superblockWriting && superblockWanted > superblockWritten) {
      startSuperblock();
    }
    if (phase == Phase.IDLE && activity.isWanted() && !cleaning) {
      startTransaction();
    }
    if (phase == Phase.BITMAPS && outstanding == 0 && !submitBitmaps()) {
      startPages();
    }
    return device.poll(this);
  }

  private long superblockTicket;

  private void startSuperblock() {
    long sequence = superblockSequence + 1;
    Superblock.write(superblockBuffer, geometry, sequence, flags, setIdLow, setIdHigh, generations, logId);
    if (device.submit(WRITE, FUA, (sequence & 1) * BLOCK, BLOCK, superblockBuffer, TAG_SUPERBLOCK)) {
      superblockSequence = sequence;
      superblockWriting = true;
      superblockTicket = superblockWanted;
    }
  }

  private void startTransaction() {
    stagedCount = activity.stage();
    if (stagedCount == 0) {
      return;
    }
    for (int i = 0; i < stagedCount; i++) {
      if (activity.victim(i) >= 0) {
        bitmapChosen[geometry.bitmapBlockOf(activity.victim(i))] = true;
      }
    }
    nextBitmap = 0;
    phase = Phase.BITMAPS;
  }

  /** One round of chosen bitmap blocks; false when none is left. */
  private boolean submitBitmaps() {
    int used = 0;
    for (; nextBitmap < bitmapChosen.length && used < ActivityLog.TRANSACTION_MAX; nextBitmap++) {
      if (bitmapChosen[nextBitmap]) {
        long buffer = bitmapBuffers + (long) used * BLOCK;
        bitmapHasBits[nextBitmap] |= fill(nextBitmap, buffer);
        if (!device.submit(WRITE, FUA, geometry.bitmapOffset(nextBitmap), BLOCK, buffer, TAG_BITMAP)) {
          break;
        }
        bitmapChosen[nextBitmap] = false;
        outstanding++;
        used++;
      }
    }
    return used > 0;
  }

  /** Returns whether there is any bit in it. */
  private boolean fill(int bitmapBlock, long buffer) {
    long first = geometry.firstBlockOfBitmap(bitmapBlock);
    long any = 0;
    for (int word = 0; word < BLOCK / 8; word++) {
      long block = first + word * 64L;
      long bits = block < geometry.blocks() ? marks.marked(block) : 0;
      Memory.putLong(buffer + 8L * word, bits);
      any |= bits;
    }
    return any != 0;
  }

  private void startPages() {
    phase = Phase.PAGES;
    for (int page = 0; page < geometry.activityPages(); page++) {
      if (activity.isPageTouched(page)) {
        int copy = activity.nextCopy(page);
        long buffer = pageBuffers + (long) page * BLOCK;
        activity.encode(page, buffer);
        if (!device.submit(WRITE, FUA, geometry.activityOffset(page, copy), BLOCK, buffer, TAG_PAGE)) {
          throw new IllegalStateException("the metadata device takes fewer than " + geometry.activityPages() + " requests at once");
        }
        outstanding++;
      }
    }
  }

  /** Drops all active extents and the whole bitmap; only while no write is under way. Completes like a transaction. */
  void forgetMarks() {
    activity.clear();
    System.arraycopy(bitmapHasBits, 0, bitmapChosen, 0, bitmapChosen.length);
    nextBitmap = 0;
    stagedCount = 0;
    phase = Phase.BITMAPS;
  }

  boolean isForgetting() {
    return phase != Phase.IDLE;
  }

  @Override
  public void completed(long tag, int result) {
    if (result < 0) {
      error = error == 0 ? result : error;
      return;
    }
    if (tag == TAG_SUPERBLOCK) {
      superblockWriting = false;
      superblockWritten = superblockTicket;
    } else if (tag == TAG_CLEAN) {
      cleaning = false;
      bitmapHasBits[cleanBlock] = cleanKeepsBits;
    } else if (--outstanding == 0 && phase == Phase.PAGES) {
      activity.commit();
      phase = Phase.IDLE;
    }
  }

  @Override
  public void close() {
    device.close();
    memory.close();
  }
}
