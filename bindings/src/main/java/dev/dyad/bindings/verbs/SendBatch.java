package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;
import static java.lang.foreign.MemoryLayout.PathElement.groupElement;

import dev.dyad.bindings.abi.verbs.ibv_send_wr;
import dev.dyad.bindings.abi.verbs.ibv_sge;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Work requests to be posted to one queue pair in one call, in their order. Filled and posted by one thread, again and again;
 * allocates nothing. Flags are {@code IBV_SEND_*} OR-ed; {@code IBV_SEND_INLINE} lets the memory be reused once {@link #post}
 * returned, up to the queue pair's {@link QueuePair#inlineBytes}. ibv_post_send(3).
 */
public final class SendBatch extends VerbsObject {

  private static final long WORK_BYTES = ibv_send_wr.sizeof();
  private static final long BYTES = WORK_BYTES + ibv_sge.sizeof();
  private static final long WORK_ID = ibv_send_wr.wr_id$offset();
  private static final long NEXT = ibv_send_wr.next$offset();
  private static final long PIECES = ibv_send_wr.sg_list$offset();
  private static final long PIECE_COUNT = ibv_send_wr.num_sge$offset();
  private static final long OPCODE = ibv_send_wr.opcode$offset();
  private static final long FLAGS = ibv_send_wr.send_flags$offset();
  private static final long IMMEDIATE = ibv_send_wr.imm_data$offset();
  private static final long REMOTE =
      ibv_send_wr.layout().byteOffset(groupElement("wr"), groupElement("rdma"), groupElement("remote_addr"));
  private static final long REMOTE_KEY = ibv_send_wr.layout().byteOffset(groupElement("wr"), groupElement("rdma"), groupElement("rkey"));
  private static final long PIECE = WORK_BYTES + ibv_sge.addr$offset();
  private static final long PIECE_LENGTH = WORK_BYTES + ibv_sge.length$offset();
  private static final long PIECE_KEY = WORK_BYTES + ibv_sge.lkey$offset();
  private static final int WRITE = IBV_WR_RDMA_WRITE();
  private static final int WRITE_WITH_IMMEDIATE = IBV_WR_RDMA_WRITE_WITH_IMM();
  private static final int SEND = IBV_WR_SEND();

  private final Arena arena = Arena.ofShared();
  private final MemorySegment function;
  private final long queuePair;
  private final int capacity;
  private final long first;
  private final long failed;
  private int size;
  private int accepted;

  public SendBatch(QueuePair queuePair, int capacity) {
    super(queuePair);
    this.queuePair = queuePair.pointer();
    this.capacity = capacity;
    function = queuePair.postSend();
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

  /** RDMA WRITE of {@code bytes} (may be 0) to where the peer said. The batch must not be full. */
  public void write(long localVirt, int bytes, int localKey, long remoteVirt, int remoteKey, long workId, int flags) {
    long at = next(WRITE, workId, flags);
    piece(at, localVirt, bytes, localKey);
    Memory.putLong(at + REMOTE, remoteVirt);
    Memory.putInt(at + REMOTE_KEY, remoteKey);
  }

  /** As {@link #write}, and takes one receive of the peer's, whose completion carries {@code immediate}. */
  public void writeWithImmediate(
      long localVirt, int bytes, int localKey, long remoteVirt, int remoteKey, int immediate, long workId, int flags) {
    long at = next(WRITE_WITH_IMMEDIATE, workId, flags);
    piece(at, localVirt, bytes, localKey);
    Memory.putLong(at + REMOTE, remoteVirt);
    Memory.putInt(at + REMOTE_KEY, remoteKey);
    Memory.putInt(at + IMMEDIATE, Integer.reverseBytes(immediate));
  }

  /** SEND into the peer's next receive. */
  public void send(long localVirt, int bytes, int localKey, long workId, int flags) {
    piece(next(SEND, workId, flags), localVirt, bytes, localKey);
  }

  /** Posts all and empties the batch. Returns 0 or a positive errno; then {@link #accepted} tells how many were taken. */
  public int post() {
    requireOpen();
    if (size == 0) {
      accepted = 0;
      return 0;
    }
    Memory.putLong(first + (size - 1) * BYTES + NEXT, 0);
    int errno = Verbs.post(function, queuePair, first, failed);
    accepted = errno == 0 ? size : (int) ((Memory.getLong(failed) - first) / BYTES);
    size = 0;
    return errno;
  }

  /** How many requests the last {@link #post} handed over. */
  public int accepted() {
    return accepted;
  }

  private long next(int opcode, long workId, int flags) {
    if (size == capacity) {
      throw new IllegalStateException("a batch of " + capacity + " work requests is full");
    }
    long at = first + size++ * BYTES;
    Memory.putLong(at + WORK_ID, workId);
    Memory.putLong(at + NEXT, at + BYTES);
    Memory.putInt(at + OPCODE, opcode);
    Memory.putInt(at + FLAGS, flags);
    return at;
  }

  private static void piece(long at, long localVirt, int bytes, int localKey) {
    Memory.putInt(at + PIECE_COUNT, bytes == 0 ? 0 : 1);
    Memory.putLong(at + PIECE, localVirt);
    Memory.putInt(at + PIECE_LENGTH, bytes);
    Memory.putInt(at + PIECE_KEY, localKey);
  }

  @Override
  void destroy() {
    arena.close();
  }

  @Override
  public String toString() {
    return "send batch";
  }
}
