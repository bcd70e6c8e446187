package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;
import static java.lang.foreign.MemoryLayout.PathElement.groupElement;

import dev.dyad.bindings.abi.verbs.ibv_send_wr;
import dev.dyad.bindings.linux.Memory;

/**
 * Sends to be posted to one queue pair in one call. Flags are {@code IBV_SEND_*} OR-ed; {@code IBV_SEND_INLINE} lets the memory be reused once {@link #post}
 * returned, up to the queue pair's {@link QueuePair#inlineBytes}. ibv_post_send(3).
 */
public final class SendBatch extends WorkBatch {

  private static final long OPCODE = ibv_send_wr.opcode$offset();
  private static final long FLAGS = ibv_send_wr.send_flags$offset();
  private static final long IMMEDIATE = ibv_send_wr.imm_data$offset();
  private static final long REMOTE =
      ibv_send_wr.layout().byteOffset(groupElement("wr"), groupElement("rdma"), groupElement("remote_addr"));
  private static final long REMOTE_KEY = ibv_send_wr.layout().byteOffset(groupElement("wr"), groupElement("rdma"), groupElement("rkey"));
  private static final int WRITE = IBV_WR_RDMA_WRITE();
  private static final int WRITE_WITH_IMMEDIATE = IBV_WR_RDMA_WRITE_WITH_IMM();
  private static final int SEND = IBV_WR_SEND();

  public SendBatch(QueuePair queuePair, int capacity) {
    super(queuePair, queuePair.postSend(), ibv_send_wr.sizeof(), capacity);
  }

  /** RDMA WRITE of {@code bytes} (may be 0) to where the peer said. The batch must not be full. */
  public void write(long localVirt, int bytes, int localKey, long remoteVirt, int remoteKey, long workId, int flags) {
    remote(request(WRITE, workId, flags, localVirt, bytes, localKey), remoteVirt, remoteKey);
  }

  /** As {@link #write}, and takes one receive of the peer's, whose completion carries {@code immediate}. */
  public void writeWithImmediate(
      long localVirt, int bytes, int localKey, long remoteVirt, int remoteKey, int immediate, long workId, int flags) {
    long at = request(WRITE_WITH_IMMEDIATE, workId, flags, localVirt, bytes, localKey);
    remote(at, remoteVirt, remoteKey);
    Memory.putInt(at + IMMEDIATE, Integer.reverseBytes(immediate));
  }

  /** SEND into the peer's next receive. */
  public void send(long localVirt, int bytes, int localKey, long workId, int flags) {
    request(SEND, workId, flags, localVirt, bytes, localKey);
  }

  private long request(int opcode, long workId, int flags, long localVirt, int bytes, int localKey) {
    long at = append(workId, localVirt, bytes, localKey);
    Memory.putInt(at + OPCODE, opcode);
    Memory.putInt(at + FLAGS, flags);
    return at;
  }

  private static void remote(long at, long virt, int key) {
    Memory.putLong(at + REMOTE, virt);
    Memory.putInt(at + REMOTE_KEY, key);
  }

  @Override
  public String toString() {
    return "send batch";
  }
}
