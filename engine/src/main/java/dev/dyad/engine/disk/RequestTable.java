package dev.dyad.engine.disk;

/**
 * Requests of the guest that have no answer yet, as columns; the waiting ones in the order in which they came. Owned by its
 * {@link GuestRequests}.
 */
final class RequestTable {
  static final int FREE = 0;

  /** Waits for an active extent, for what it overlaps, for room in the ring or in the device. */
  static final int QUEUED = 1;

  static final int LOCAL = 2;

  /** Asked of the standby's disk. */
  static final int REMOTE = 3;

  private static final int GONE = -1;

  final int[] op;
  final int[] flags;
  final long[] offset;
  final long[] bytes;
  final long[] hostVirt;
  final long[] tag;
  final int[] state;
  final int[] use;

  /** Which marks a write belongs to, see {@link DifferenceMarks#writeBegun}. */
  final int[] markSide;

  private final int[] free;
  private int freeCount;
  private final int[] queue;
  private int queueCount;
  private int writesInFlight;

  RequestTable(int capacity) {
    op = new int[capacity];
    flags = new int[capacity];
    offset = new long[capacity];
    bytes = new long[capacity];
    hostVirt = new long[capacity];
    tag = new long[capacity];
    state = new int[capacity];
    use = new int[capacity];
    markSide = new int[capacity];
    free = new int[capacity];
    queue = new int[2 * capacity]; // places that are gone stay until compact
    for (int i = 0; i < capacity; i++) {
      free[i] = capacity - 1 - i;
    }
    freeCount = capacity;
  }

  int capacity() {
    return free.length;
  }

  int count() {
    return free.length - freeCount;
  }

  boolean isFull() {
    return freeCount == 0;
  }

  int add(int newOp, int newFlags, long newOffset, long newBytes, long newHostVirt, long newTag) {
    int slot = free[--freeCount];
    op[slot] = newOp;
    flags[slot] = newFlags;
    offset[slot] = newOffset;
    bytes[slot] = newBytes;
    hostVirt[slot] = newHostVirt;
    tag[slot] = newTag;
    state[slot] = QUEUED;
    use[slot]++;
    if (queueCount == queue.length) {
      throw new IllegalStateException("more requests in one turn than the queue has places");
    }
    queue[queueCount++] = slot;
    return slot;
  }

  int queued() {
    return queueCount;
  }

  int queued(int index) {
    return queue[index];
  }

  /** The request at that place of the queue waits no longer. */
  void take(int index) {
    queue[index] = GONE;
  }

  void compact() {
    int kept = 0;
    for (int i = 0; i < queueCount; i++) {
      if (queue[i] != GONE) {
        queue[kept++] = queue[i];
      }
    }
    queueCount = kept;
  }

  boolean isWrite(int slot) {
    return op[slot] == BlockDevice.WRITE || op[slot] == BlockDevice.DISCARD || op[slot] == BlockDevice.ZEROES;
  }

  void start(int slot, int newState) {
    state[slot] = newState;
    if (isWrite(slot)) {
      writesInFlight++;
    }
  }

  void end(int slot) {
    if (isWrite(slot) && state[slot] != QUEUED) {
      writesInFlight--;
    }
    state[slot] = FREE;
    free[freeCount++] = slot;
  }

  /** Whether a started write touches that range. */
  boolean overlapsWrite(long from, long length) {
    if (writesInFlight == 0) {
      return false;
    }
    for (int slot = 0; slot < state.length; slot++) {
      if (state[slot] >= LOCAL && isWrite(slot) && offset[slot] < from + length && from < offset[slot] + bytes[slot]) {
        return true;
      }
    }
    return false;
  }
}
