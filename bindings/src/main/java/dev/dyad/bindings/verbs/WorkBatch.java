package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_recv_wr;
import dev.dyad.bindings.abi.verbs.ibv_send_wr;
import dev.dyad.bindings.abi.verbs.ibv_sge;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Work requests to be posted to one queue pair in one call, in their order: a chain in native memory, each with one piece of memory. Filled and
 * posted by one thread, again and again; allocates nothing.
 */
abstract class WorkBatch extends VerbsObject {

  // A send begins with the members of a receive.
  private static final long WORK_ID = ibv_recv_wr.wr_id$offset();
  private static final long NEXT = ibv_recv_wr.next$offset();
  private static final long PIECES = ibv_recv_wr.sg_list$offset();
  private static final long PIECE_COUNT = ibv_recv_wr.num_sge$offset();
  private static final long PIECE = ibv_sge.addr$offset();
  private static final long PIECE_LENGTH = ibv_sge.length$offset();
  private static final long PIECE_KEY = ibv_sge.lkey$offset();

  static {
    if (WORK_ID != ibv_send_wr.wr_id$offset() || NEXT != ibv_send_wr.next$offset() || PIECES != ibv_send_wr.sg_list$offset()
        || PIECE_COUNT != ibv_send_wr.num_sge$offset()) {
      throw new AssertionError("ibv_send_wr does not begin as ibv_recv_wr does");
    }
  }

  private final Arena arena = Arena.ofShared();
  private final MemorySegment function;
  private final long queuePair;
  private final int capacity;
  private final long workBytes;
  private final long bytes;
  private final long first;
  private final long failed;
  private int size;
  private int accepted;

  /**
   * @param function of the provider, that posts
   * @param workBytes of a work request
   */
  WorkBatch(QueuePair queuePair, MemorySegment function, long workBytes, int capacity) {
    super(queuePair);
    this.queuePair = queuePair.pointer();
    this.function = function;
    this.capacity = capacity;
    this.workBytes = workBytes;
    bytes = workBytes + ibv_sge.sizeof();
    first = arena.allocate(bytes * capacity, 64).address();
    failed = arena.allocate(8, 8).address();
    for (long at = first; at < first + capacity * bytes; at += bytes) {
      Memory.putLong(at + PIECES, at + workBytes);
    }
  }

  public final int size() {
    return size;
  }

  public final boolean isFull() {
    return size == capacity;
  }

  /** Adds a request. @param length of its piece, may be 0 @return its address */
  final long append(long workId, long localVirt, int length, int localKey) {
    if (size == capacity) {
      throw new IllegalStateException("a batch of " + capacity + " work requests is full");
    }
    long at = first + size++ * bytes;
    Memory.putLong(at + WORK_ID, workId);
    Memory.putLong(at + NEXT, at + bytes);
    Memory.putInt(at + PIECE_COUNT, length == 0 ? 0 : 1);
    long piece = at + workBytes;
    Memory.putLong(piece + PIECE, localVirt);
    Memory.putInt(piece + PIECE_LENGTH, length);
    Memory.putInt(piece + PIECE_KEY, localKey);
    return at;
  }

  /** Posts all and empties the batch. Returns 0 or a positive errno; then {@link #accepted} tells how many were taken. */
  public final int post() {
    requireOpen();
    if (size == 0) {
      accepted = 0;
      return 0;
    }
    Memory.putLong(first + (size - 1) * bytes + NEXT, 0);
    int errno = Verbs.post(function, queuePair, first, failed);
    accepted = errno == 0 ? size : (int) ((Memory.getLong(failed) - first) / bytes);
    size = 0;
    return errno;
  }

  /** How many requests the last {@link #post} handed over. */
  public final int accepted() {
    return accepted;
  }

  @Override
  final void destroy() {
    arena.close();
  }
}
