package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_recv_wr;
import dev.dyad.bindings.abi.verbs.ibv_sge;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Receives to be posted to one queue pair in one call. Filled and posted by one thread, again and again; allocates nothing.
 * ibv_post_recv(3).
 */
public final class ReceiveBatch extends VerbsObject {

  private static final long WORK_BYTES = ibv_recv_wr.sizeof();
  private static final long BYTES = WORK_BYTES + ibv_sge.sizeof();
  private static final long WORK_ID = ibv_recv_wr.wr_id$offset();
  private static final long NEXT = ibv_recv_wr.next$offset();
  private static final long PIECES = ibv_recv_wr.sg_list$offset();
  private static final long PIECE_COUNT = ibv_recv_wr.num_sge$offset();
  private static final long PIECE = WORK_BYTES + ibv_sge.addr$offset();
  private static final long PIECE_LENGTH = WORK_BYTES + ibv_sge.length$offset();
  private static final long PIECE_KEY = WORK_BYTES + ibv_sge.lkey$offset();

  private final Arena arena = Arena.ofShared();
  private final MemorySegment function;
  private final long queuePair;
  private final int capacity;
  private final long first;
  private final long failed;
  private int size;

  public ReceiveBatch(QueuePair queuePair, int capacity) {
    super(queuePair);
    this.queuePair = queuePair.pointer();
    this.capacity = capacity;
    function = queuePair.postReceive();
    first = arena.allocate(BYTES * capacity, 64).address();
    failed = arena.allocate(8, 8).address();
    for (long at = first; at < first + capacity * BYTES; at += BYTES) {
      Memory.putLong(at + PIECES, at + WORK_BYTES);
    }
  }

  public int size() {
    return size;
  }

  public boolean isFull() {
    return size == capacity;
  }

  /** A receive into {@code bytes} at {@code localVirt}; 0 bytes do for writes with immediate. The batch must not be full. */
  public void add(long localVirt, int bytes, int localKey, long workId) {
    if (size == capacity) {
      throw new IllegalStateException("a batch of " + capacity + " receives is full");
    }
    long at = first + size++ * BYTES;
    Memory.putLong(at + WORK_ID, workId);
    Memory.putLong(at + NEXT, at + BYTES);
    Memory.putInt(at + PIECE_COUNT, bytes == 0 ? 0 : 1);
    Memory.putLong(at + PIECE, localVirt);
    Memory.putInt(at + PIECE_LENGTH, bytes);
    Memory.putInt(at + PIECE_KEY, localKey);
  }

  /** Posts all and empties the batch. Returns 0 or a positive errno. */
  public int post() {
    requireOpen();
    if (size == 0) {
      return 0;
    }
    Memory.putLong(first + (size - 1) * BYTES + NEXT, 0);
    size = 0;
    return Verbs.post(function, queuePair, first, failed);
  }

  @Override
  void destroy() {
    arena.close();
  }

  @Override
  public String toString() {
    return "receive batch";
  }
}
