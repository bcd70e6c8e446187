package dev.dyad.engine.disk.nbd;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.disk.BlockDevice;
import org.jspecify.annotations.Nullable;

/**
 * Requests of all connections between their arrival and their reply, each with a buffer: a bounded pool. A request larger than what the
 * device takes at once goes down in parts. Thread: disk.
 */
final class NbdRequests implements BlockDevice.Completions, AutoCloseable {
  static final int BUFFER_BYTES = 1 << 20;

  private final BlockDevice device;
  private final Mapping memory;
  private final @Nullable NbdConnection[] owner;
  final int[] command;
  final int[] flags;
  final long[] cookie;
  final long[] offset;
  final long[] bytes;
  private final int[] op;
  private final int[] deviceFlags;
  private final long[] submitted;
  private final long[] completed;
  private final int[] error;
  private final int[] free;
  private int freeCount;
  private final int[] unsubmitted;
  private int unsubmittedCount;

  NbdRequests(BlockDevice device, int capacity) {
    this.device = device;
    memory = Mapping.anonymous((long) capacity * BUFFER_BYTES);
    owner = new @Nullable NbdConnection[capacity];
    command = new int[capacity];
    flags = new int[capacity];
    cookie = new long[capacity];
    offset = new long[capacity];
    bytes = new long[capacity];
    op = new int[capacity];
    deviceFlags = new int[capacity];
    submitted = new long[capacity];
    completed = new long[capacity];
    error = new int[capacity];
    free = new int[capacity];
    unsubmitted = new int[capacity];
    for (int i = 0; i < capacity; i++) {
      free[i] = capacity - 1 - i;
    }
    freeCount = capacity;
  }

  /** Address and size of all buffers, to be pinned. */
  long buffersVirt() {
    return memory.hostVirt();
  }

  long buffersBytes() {
    return memory.bytes();
  }

  boolean isFull() {
    return freeCount == 0;
  }

  int inUse() {
    return free.length - freeCount;
  }

  int take(NbdConnection connection, int newCommand, int newFlags, long newCookie, long newOffset, long newBytes) {
    int slot = free[--freeCount];
    owner[slot] = connection;
    command[slot] = newCommand;
    flags[slot] = newFlags;
    cookie[slot] = newCookie;
    offset[slot] = newOffset;
    bytes[slot] = newBytes;
    submitted[slot] = 0;
    completed[slot] = 0;
    error[slot] = 0;
    return slot;
  }

  void release(int slot) {
    owner[slot] = null;
    free[freeCount++] = slot;
  }

  long buffer(int slot) {
    return memory.hostVirt() + (long) slot * BUFFER_BYTES;
  }

  int error(int slot) {
    return error[slot];
  }

  /** Sends a request down; its connection hears when it is done. */
  void start(int slot, int newOp, int newFlags) {
    op[slot] = newOp;
    deviceFlags[slot] = newFlags;
    if (!submit(slot)) {
      unsubmitted[unsubmittedCount++] = slot;
    }
  }

  /** Puts down what the device had no room for. */
  void poll() {
    int kept = 0;
    for (int i = 0; i < unsubmittedCount; i++) {
      int slot = unsubmitted[i];
      if (!submit(slot)) {
        unsubmitted[kept++] = slot;
      }
    }
    unsubmittedCount = kept;
  }

  /** False while parts are left. A part's tag is its slot and its length in units of 512, so that its completion can be counted. */
  private boolean submit(int slot) {
    boolean transfer = op[slot] == BlockDevice.READ || op[slot] == BlockDevice.WRITE;
    long max = transfer ? device.transferBytesMax() : 1L << 26;
    if (op[slot] == BlockDevice.FLUSH) {
      return device.submit(BlockDevice.FLUSH, 0, 0, 0, 0, slot);
    }
    while (submitted[slot] < bytes[slot]) {
      long part = Math.min(max, bytes[slot] - submitted[slot]);
      long at = transfer ? buffer(slot) + submitted[slot] : 0;
      long from = submitted[slot];
      submitted[slot] += part; // before the call: a completion may come within it
      if (!device.submit(op[slot], deviceFlags[slot], offset[slot] + from, part, at, slot | (part >>> 9) << 32)) {
        submitted[slot] = from;
        return false;
      }
    }
    return true;
  }

  @Override
  public void completed(long tag, int result) {
    int slot = (int) tag;
    completed[slot] += (tag >>> 32) << 9;
    if (result < 0 && error[slot] == 0) {
      error[slot] = result;
    }
    if (completed[slot] == bytes[slot]) {
      NbdConnection connection = owner[slot];
      if (connection != null) {
        connection.done(slot);
      }
    }
  }

  @Override
  public void close() {
    memory.close();
  }
}
