package dev.dyad.engine.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.Crc32c;

/**
 * What a standby has received and not applied: writes in their order, each with its epoch, and their data in memory that is bounded.
 * When memory is short the oldest data goes to a log file, in batches; with durability = disk every epoch goes there.
 *
 * <p>Pure but for the memory that it owns: it decides which entry may be applied and what the next batch is; {@link StandbyDisk} reads
 * and writes.
 *
 * <pre>
 *   entries:   head ──── applied or being applied ──── next ──── waiting for commit ──── tail
 *   batch in the log file:  | head, 4 KiB: magic crc logId number count dataBytes dataCrc seal base, entries of 32 bytes | data |
 * </pre>
 *
 * <p>Must never happen: an entry of an epoch that is not committed is applied; two that overlap are applied the other way round.
 */
class WriteLog implements AutoCloseable {
  static final int BATCH_HEAD_BYTES = 4096;
  static final int BATCH_ENTRIES_MAX = (BATCH_HEAD_BYTES - 64) / 32;

  private static final int MAGIC = 0x4c445944; // "DYDL"
  private static final int WAITING = 0;
  private static final int APPLYING = 1;
  private static final int DONE = 2;
  private static final long NOWHERE = -1;

  /** How far application may run ahead of its oldest unfinished entry. */
  private static final int SPREAD_MAX = 256;

  private final int mask;
  private final int[] op;
  private final long[] offset;
  private final long[] bytes;
  private final long[] epoch;
  private final long[] dataAt;
  private final long[] logAt;
  private final int[] state;
  private final Mapping memory;
  private final long memoryMask;
  private final int align;
  private final Crc32c crc;
  private final int batchBytesMax;

  private long head;
  private long next;
  private long tail;
  private long dataHead;
  private long dataTail;
  /** Entries before this one are in the log file. */
  private long logged;
  private long batchFirst;
  private long batchFirstData;
  private boolean batchUnderWay;

  /**
   * @param memoryBytes a power of two
   * @param entries a power of two
   * @param align of data addresses
   */
  WriteLog(long memoryBytes, int entries, int align, int batchBytesMax) {
    if (Long.bitCount(memoryBytes) != 1 || memoryBytes > 1 << 29 || Integer.bitCount(entries) != 1) {
      throw new IllegalArgumentException("write log of " + memoryBytes + " bytes and " + entries + " entries: needed are powers of two");
    }
    mask = entries - 1;
    op = new int[entries];
    offset = new long[entries];
    bytes = new long[entries];
    epoch = new long[entries];
    dataAt = new long[entries];
    logAt = new long[entries];
    state = new int[entries];
    memory = Mapping.mirrored(memoryBytes);
    memoryMask = memoryBytes - 1;
    crc = new Crc32c(memory.hostVirt(), 2 * memoryBytes);
    this.align = align;
    this.batchBytesMax = batchBytesMax;
  }

  /**
   * Takes a write.
   *
   * @param dataBytes 0 for one without data
   * @return address for its data (any address but 0 when there is none), or 0 when it does not fit now
   */
  long add(int newOp, long newEpoch, long newOffset, long newBytes, int dataBytes) {
    long need = (dataBytes + align - 1L) & -align;
    if (tail - head > mask || dataTail + need - dataHead > memoryMask + 1) {
      return 0;
    }
    int i = (int) tail & mask;
    op[i] = newOp;
    epoch[i] = newEpoch;
    offset[i] = newOffset;
    bytes[i] = newBytes;
    dataAt[i] = dataTail;
    logAt[i] = NOWHERE;
    state[i] = WAITING;
    tail++;
    long at = address(dataTail);
    dataTail += need;
    return at;
  }

  private long address(long position) {
    return memory.hostVirt() + (position & memoryMask);
  }

  long freeBytes() {
    return memoryMask + 1 - (dataTail - dataHead);
  }

  boolean isEmpty() {
    return head == tail;
  }

  long count() {
    return tail - head;
  }

  boolean hasEntriesThrough(long sealedEpoch) {
    return head < tail && epoch[(int) head & mask] <= sealedEpoch;
  }

  /** The newest epoch of which nothing is left to apply, given that {@code limit} is the newest that may be. */
  long appliedThrough(long limit) {
    return head < tail ? Math.min(limit, epoch[(int) head & mask] - 1) : limit;
  }

  /** The entry to be applied next, or −1: none that is committed, or it overlaps one that is under way. */
  long nextToApply(long committedEpoch) {
    if (next == tail || next - head >= SPREAD_MAX || epoch[(int) next & mask] > committedEpoch) {
      return -1;
    }
    int i = (int) next & mask;
    for (long e = head; e < next; e++) {
      int j = (int) e & mask;
      if (state[j] == APPLYING && offset[j] < offset[i] + bytes[i] && offset[i] < offset[j] + bytes[j]) {
        return -1;
      }
    }
    return next;
  }

  void applying(long entry) {
    state[(int) entry & mask] = APPLYING;
    next = entry + 1;
  }

  void applied(long entry) {
    state[(int) entry & mask] = DONE;
    while (head < next && state[(int) head & mask] == DONE) {
      head++;
    }
    logged = Math.max(logged, head);
    freeApplied();
  }

  /** Frees the memory of what was applied; not of a batch that the file is being written from. */
  private void freeApplied() {
    long upTo = head < tail ? dataAt[(int) head & mask] : dataTail;
    dataHead = Math.max(dataHead, batchUnderWay ? Math.min(upTo, batchFirstData) : upTo);
  }

  /** Throws away every write of an epoch after {@code lastEpoch}; they are the newest ones. */
  void dropAfter(long lastEpoch) {
    while (tail > next && epoch[(int) (tail - 1) & mask] > lastEpoch) {
      tail--;
      dataTail = Math.max(dataHead, dataAt[(int) tail & mask]);
    }
    logged = Math.min(logged, tail);
  }

  int op(long entry) {
    return op[(int) entry & mask];
  }

  long offset(long entry) {
    return offset[(int) entry & mask];
  }

  long bytes(long entry) {
    return bytes[(int) entry & mask];
  }

  /** Whether its data is in the log file alone. */
  boolean isSpilled(long entry) {
    int i = (int) entry & mask;
    return op[i] == BlockDevice.WRITE && dataAt[i] < dataHead;
  }

  long data(long entry) {
    return address(dataAt[(int) entry & mask]);
  }

  long logAt(long entry) {
    return logAt[(int) entry & mask];
  }

  /** Whether an entry that is being applied touches that range. */
  boolean isApplying(long from, long length) {
    for (long e = head; e < next; e++) {
      int i = (int) e & mask;
      if (state[i] == APPLYING && offset[i] < from + length && from < offset[i] + bytes[i]) {
        return true;
      }
    }
    return false;
  }

  /** Whether data for that range is in the log file alone. */
  boolean isSpilled(long from, long length) {
    for (long e = head; e < tail; e++) {
      int i = (int) e & mask;
      if (isSpilled(e) && state[i] != DONE && offset[i] < from + length && from < offset[i] + bytes[i]) {
        return true;
      }
    }
    return false;
  }

  /** Puts what is in the log over {@code length} bytes read from the image at {@code from}. */
  void overlay(long from, int length, long hostVirt) {
    for (long e = head; e < tail; e++) {
      int i = (int) e & mask;
      long start = Math.max(from, offset[i]);
      long end = Math.min(from + length, offset[i] + bytes[i]);
      if (start < end && state[i] != DONE) {
        if (op[i] == BlockDevice.WRITE) {
          Memory.copy(address(dataAt[i]) + (start - offset[i]), hostVirt + (start - from), end - start);
        } else {
          Memory.zero(hostVirt + (start - from), end - start);
        }
      }
    }
  }

  // ---- the log file ----

  /** Number of entries for the next batch: consecutive ones before {@code end} that are not in the file, bounded by count and bytes. */
  int batchEntries(long end) {
    int count = 0;
    long first = logged;
    while (first + count < Math.min(end, tail) && count < BATCH_ENTRIES_MAX) {
      long dataEnd = dataEnd(first + count);
      if (count > 0 && dataEnd - dataAt[(int) first & mask] > batchBytesMax) {
        break;
      }
      count++;
    }
    return count;
  }

  private long dataEnd(long entry) {
    return entry + 1 < tail ? dataAt[(int) (entry + 1) & mask] : dataTail;
  }

  /** Bytes of data of a batch of that many entries. */
  int batchBytes(int count) {
    return count == 0 ? 0 : (int) (dataEnd(logged + count - 1) - dataAt[(int) logged & mask]);
  }

  long batchData() {
    return address(dataAt[(int) logged & mask]);
  }

  /**
   * Writes the head of a batch.
   *
   * @param seal the epoch that is whole with this batch, or −1
   * @param base the epoch at which the disk became level: what is older in the file has gaps and does not count
   */
  void encodeBatch(long at, int count, long logId, long number, long seal, long base) {
    batchFirst = logged;
    batchFirstData = count == 0 ? dataTail : dataAt[(int) logged & mask];
    Memory.zero(at, BATCH_HEAD_BYTES);
    int dataBytes = batchBytes(count);
    Memory.putInt(at, MAGIC);
    Memory.putLong(at + 8, logId);
    Memory.putLong(at + 16, number);
    Memory.putInt(at + 24, count);
    Memory.putInt(at + 28, dataBytes);
    Memory.putInt(at + 32, dataBytes == 0 ? 0 : crc.of(batchData(), dataBytes));
    Memory.putLong(at + 40, seal);
    Memory.putLong(at + 48, base);
    for (int k = 0; k < count; k++) {
      int i = (int) (logged + k) & mask;
      long record = at + 64 + 32L * k;
      Memory.putInt(record, op[i]);
      Memory.putInt(record + 4, (int) (dataAt[i] - dataAt[(int) logged & mask]));
      Memory.putLong(record + 8, offset[i]);
      Memory.putLong(record + 16, bytes[i]);
      Memory.putLong(record + 24, epoch[i]);
    }
    Memory.putInt(at + 4, Crc32c.ofSmall(at + 8, BATCH_HEAD_BYTES - 8));
  }

  /** Whether a block is the head of batch {@code number} of log {@code logId}. */
  static boolean isBatch(long at, long logId, long number) {
    return Memory.getInt(at) == MAGIC
        && Memory.getInt(at + 4) == Crc32c.ofSmall(at + 8, BATCH_HEAD_BYTES - 8)
        && Memory.getLong(at + 8) == logId
        && Memory.getLong(at + 16) == number
        && batchCount(at) >= 0
        && batchCount(at) <= BATCH_ENTRIES_MAX
        && batchDataBytes(at) >= 0;
  }

  static int batchCount(long at) {
    return Memory.getInt(at + 24);
  }

  static int batchDataBytes(long at) {
    return Memory.getInt(at + 28);
  }

  static int batchDataCrc(long at) {
    return Memory.getInt(at + 32);
  }

  static long batchSeal(long at) {
    return Memory.getLong(at + 40);
  }

  static long batchBase(long at) {
    return Memory.getLong(at + 48);
  }

  /** Address of entry {@code k} of a batch head: op, place of its data in the batch, offset, bytes, epoch. */
  static long batchEntry(long at, int k) {
    return at + 64 + 32L * k;
  }

  /** The batch encoded last is being written: its data stays where it is until {@link #batchWritten}. */
  void batchBegun() {
    batchUnderWay = true;
  }

  /** The batch encoded last is in the file, its data from {@code position} on. Some of its entries may have been applied or dropped meanwhile. */
  void batchWritten(int count, long position) {
    for (long e = Math.max(head, batchFirst); e < Math.min(tail, batchFirst + count); e++) {
      logAt[(int) e & mask] = position + (dataAt[(int) e & mask] - batchFirstData);
    }
    logged = Math.min(tail, Math.max(logged, batchFirst + count));
    batchUnderWay = false;
    freeApplied();
  }

  long loggedThrough() {
    return logged;
  }

  long tail() {
    return tail;
  }

  /** Whether the file has anything that is not applied. */
  boolean needsFile() {
    return head < logged;
  }

  /** Frees the memory of data that is in the file; the entries stay. */
  void freeLogged() {
    long upTo = logged < tail ? dataAt[(int) logged & mask] : dataTail;
    if (batchUnderWay) {
      upTo = Math.min(upTo, batchFirstData);
    }
    // What is being applied is being read from memory.
    for (long e = head; e < next; e++) {
      if (state[(int) e & mask] == APPLYING) {
        upTo = Math.min(upTo, dataAt[(int) e & mask]);
      }
    }
    dataHead = Math.max(dataHead, upTo);
  }

  @Override
  public String toString() {
    return "[" + head + " next " + next + " logged " + logged + " tail " + tail + " data " + dataHead + ".." + dataTail + "]";
  }

  @Override
  public void close() {
    memory.close();
  }
}
