package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * Brings a standby's disk level while the guest runs: which blocks are compared by checksum, which are sent, how fast, and how far it
 * is. Owns the buffers; the {@link Leveller} reads into them and sends from them.
 *
 * <p>A piece is a range that is being read or waits to be sent. A guest's write that touches it meanwhile makes it stale: it is done
 * again, since what was read may be older than what the ring already carries.
 */
public final class Resync implements AutoCloseable {
  static final int COPY = 0;
  static final int SUMS = 1;

  /** A checksum that is only looked at. */
  static final int VERIFY = 2;

  static final int FREE = 0;
  static final int READING = 1;
  static final int READY = 2;

  /** Sums that were sent and not answered. */
  static final int ASKED = 3;

  private static final int PIECES = 8;
  private static final long NANOS_PER_SECOND = 1_000_000_000L;

  private final Mapping memory;
  private final int pieceBytes;
  private final int blockBytes;
  private final BlockMap dirty;
  private final BlockMap compare;
  private final long blocks;
  private final long rateBytesPerSecond;

  final int[] kind = new int[PIECES];
  final int[] state = new int[PIECES];
  final long[] firstBlock = new long[PIECES];
  final int[] blockCount = new int[PIECES];
  private final boolean[] stale = new boolean[PIECES];

  private long copyCursor;
  private long compareCursor;
  private long verifyCursor = -1;
  private long budgetBytes;
  private long budgetNanos;
  private long startNanos;
  private long totalBlocks;
  private long copiedBytes;
  private long comparedBytes;
  private long differing;
  private final java.util.TreeSet<Long> differingExtents = new java.util.TreeSet<>();
  private final int blocksPerExtent;

  Resync(DiskGeometry geometry, int pieceBytes, long rateBytesPerSecond, BlockMap dirty, BlockMap compare) {
    blockBytes = geometry.blockBytes();
    blocks = geometry.blocks();
    blocksPerExtent = geometry.blocksPerExtent();
    this.pieceBytes = pieceBytes;
    this.rateBytesPerSecond = rateBytesPerSecond;
    this.dirty = dirty;
    this.compare = compare;
    memory = Mapping.anonymous((long) PIECES * pieceBytes);
  }

  int pieces() {
    return PIECES;
  }

  long buffer(int piece) {
    return memory.hostVirt() + (long) piece * pieceBytes;
  }

  long offset(int piece) {
    return firstBlock[piece] * blockBytes;
  }

  int bytes(int piece) {
    return blockCount[piece] * blockBytes;
  }

  void start(long nowNanos) {
    startNanos = nowNanos;
    totalBlocks = dirty.count() + compare.count();
    copiedBytes = 0;
    comparedBytes = 0;
    copyCursor = 0;
    compareCursor = 0;
  }

  /** The connection is gone: nothing that was asked is answered any more. */
  void stop() {
    for (int i = 0; i < PIECES; i++) {
      if (state[i] == READY || state[i] == ASKED) {
        state[i] = FREE;
      }
      stale[i] = true; // a read under way ends in nothing
    }
    verifyCursor = -1;
  }

  /** Compares all blocks and mends nothing. */
  void startVerify() {
    verifyCursor = 0;
    differing = 0;
    differingExtents.clear();
  }

  /** Whether a verification is under way. */
  public boolean isVerifying() {
    return verifyCursor >= 0;
  }

  /**
   * Chooses the next range; nothing is chosen while the budget of bytes is used up.
   *
   * @return the piece, to be read by the caller, or −1
   */
  int next(long nowNanos, RequestTable requests) {
    int piece = freePiece();
    if (piece < 0 || !hasBudget(nowNanos)) {
      return -1;
    }
    if (!dirty.isEmpty() && choose(piece, COPY, dirty, copyCursor, requests)) {
      copyCursor = firstBlock[piece] + blockCount[piece];
      return piece;
    }
    if (!compare.isEmpty() && choose(piece, SUMS, compare, compareCursor, requests)) {
      compareCursor = firstBlock[piece] + blockCount[piece];
      return piece;
    }
    if (dirty.next(copyCursor) < 0 && !isActive(COPY)) {
      copyCursor = 0;
    }
    if (compare.next(compareCursor) < 0 && !isActive(SUMS)) {
      compareCursor = 0;
    }
    if (verifyCursor >= 0 && verifyCursor < blocks) {
      int count = (int) Math.min(blocks - verifyCursor, pieceBytes / blockBytes);
      if (!requests.overlapsWrite(verifyCursor * blockBytes, (long) count * blockBytes)) {
        take(piece, VERIFY, verifyCursor, count);
        verifyCursor += count;
        return piece;
      }
    } else if (verifyCursor >= blocks && !isActive(VERIFY)) {
      verifyCursor = -1;
    }
    return -1;
  }

  private boolean choose(int piece, int newKind, BlockMap set, long cursor, RequestTable requests) {
    long block = set.next(cursor);
    while (block >= 0) {
      int count = (int) set.run(block, pieceBytes / blockBytes);
      if (!requests.overlapsWrite(block * blockBytes, (long) count * blockBytes)) {
        take(piece, newKind, block, count);
        return true;
      }
      block = set.next(block + count);
    }
    return false;
  }

  private void take(int piece, int newKind, long block, int count) {
    kind[piece] = newKind;
    state[piece] = READING;
    firstBlock[piece] = block;
    blockCount[piece] = count;
    stale[piece] = false;
    budgetBytes -= (long) count * blockBytes;
  }

  private boolean hasBudget(long nowNanos) {
    if (rateBytesPerSecond == Long.MAX_VALUE) {
      return true;
    }
    long elapsed = Math.min(nowNanos - budgetNanos, NANOS_PER_SECOND / 10);
    budgetNanos = nowNanos;
    budgetBytes = Math.min(budgetBytes + rateBytesPerSecond * elapsed / NANOS_PER_SECOND, rateBytesPerSecond / 10);
    return budgetBytes > 0;
  }

  private boolean isActive(int whichKind) {
    for (int i = 0; i < PIECES; i++) {
      if (state[i] != FREE && kind[i] == whichKind) {
        return true;
      }
    }
    return false;
  }

  private int freePiece() {
    for (int i = 0; i < PIECES; i++) {
      if (state[i] == FREE) {
        return i;
      }
    }
    return -1;
  }

  /** A guest's write to that range begins. */
  void touch(long offset, long bytes) {
    for (int i = 0; i < PIECES; i++) {
      boolean matters = state[i] == READING || state[i] == READY || (state[i] == ASKED && kind[i] == VERIFY);
      if (matters && offset < offset(i) + bytes(i) && offset(i) < offset + bytes) {
        stale[i] = true;
      }
    }
  }

  /** The read of a piece has ended; false when it was for nothing. */
  boolean read(int piece, int error) {
    if (stale[piece] || error < 0) {
      giveUp(piece);
      return false;
    }
    state[piece] = READY;
    return true;
  }

  boolean isStale(int piece) {
    return stale[piece];
  }

  /** Does it again later: its blocks are still marked. */
  void giveUp(int piece) {
    if (kind[piece] == VERIFY && verifyCursor >= 0) {
      verifyCursor = Math.min(verifyCursor, firstBlock[piece]);
    }
    state[piece] = FREE;
  }

  void copied(int piece) {
    copiedBytes += bytes(piece);
    state[piece] = FREE;
  }

  void asked(int piece) {
    state[piece] = ASKED;
  }

  /**
   * The standby's answer to sums.
   *
   * @param mask address of a bit for each block
   * @return false when nobody asked that
   */
  boolean answered(long offset, int count, int words, long mask) {
    for (int i = 0; i < PIECES; i++) {
      if (state[i] == ASKED && offset(i) == offset && blockCount[i] == count) {
        if (kind[i] == VERIFY && stale[i]) {
          giveUp(i);
          return true;
        }
        state[i] = FREE;
        comparedBytes += bytes(i);
        for (int word = 0; word < words; word++) {
          long bits = Memory.getLong(mask + 8L * word);
          for (; bits != 0; bits &= bits - 1) {
            long block = firstBlock[i] + word * 64L + Long.numberOfTrailingZeros(bits);
            if (kind[i] == VERIFY) {
              differing++;
              differingExtents.add(block / blocksPerExtent);
            } else {
              dirty.set(block, 1);
            }
          }
        }
        if (kind[i] == SUMS) {
          compare.clear(firstBlock[i], count);
        }
        return true;
      }
    }
    return false;
  }

  /** Blocks that differed in the last verification. */
  public long differing() {
    return differing;
  }

  /** Numbers of extents with such blocks, in order. */
  public java.util.List<Long> differingExtents() {
    return java.util.List.copyOf(differingExtents);
  }

  /** Bytes that were sent because they differ. */
  public long copiedBytes() {
    return copiedBytes;
  }

  /** Bytes that were compared by checksum. */
  public long comparedBytes() {
    return comparedBytes;
  }

  /** Share of the marked blocks that are done, 0 to 100. */
  public int percent() {
    long left = dirty.count() + compare.count();
    return totalBlocks == 0 || left == 0 ? 100 : (int) Math.max(0, 100 - left * 100 / Math.max(left, totalBlocks));
  }

  /** Bytes that are still marked. */
  public long remainingBytes() {
    return (dirty.count() + compare.count()) * blockBytes;
  }

  /** Mean over the whole of it. */
  public long bytesPerSecond(long nowNanos) {
    long elapsed = Math.max(1, nowNanos - startNanos);
    return (long) ((copiedBytes + comparedBytes) * (double) NANOS_PER_SECOND / elapsed);
  }

  @Override
  public String toString() {
    return "pieces " + java.util.Arrays.toString(state) + " of kinds " + java.util.Arrays.toString(kind) + " cursors " + copyCursor + " " + compareCursor;
  }

  @Override
  public void close() {
    memory.close();
  }
}
