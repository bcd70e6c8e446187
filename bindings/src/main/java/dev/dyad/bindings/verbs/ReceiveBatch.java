package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_recv_wr;

/** Receives to be posted to one queue pair in one call. ibv_post_recv(3). */
public final class ReceiveBatch extends WorkBatch {

  public ReceiveBatch(QueuePair queuePair, int capacity) {
    super(queuePair, queuePair.postReceive(), ibv_recv_wr.sizeof(), capacity);
  }

  /** A receive into {@code bytes} at {@code localVirt}; 0 bytes do for writes with immediate. The batch must not be full. */
  public void add(long localVirt, int bytes, int localKey, long workId) {
    append(workId, localVirt, bytes, localKey);
  }

  @Override
  public String toString() {
    return "receive batch";
  }
}
