package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import dev.dyad.bindings.abi.verbs.ibv_ah_attr;
import dev.dyad.bindings.abi.verbs.ibv_global_route;
import dev.dyad.bindings.abi.verbs.ibv_qp;
import dev.dyad.bindings.abi.verbs.ibv_qp_attr;
import dev.dyad.bindings.abi.verbs.ibv_qp_cap;
import dev.dyad.bindings.abi.verbs.ibv_qp_init_attr;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * One end of a reliable connection (RC). RESET, INIT, ready to receive, ready to send; ERR from any. ibv_create_qp(3),
 * ibv_modify_qp(3).
 */
public final class QueuePair extends VerbsObject {

  private static final int HOPS = 64;

  /** 0.64 ms; credits make it rare. */
  private static final byte RECEIVER_NOT_READY_TIMER = 12;

  private static final int SEQUENCE_MASK = 0xffffff;

  private final ProtectionDomain domain;
  private final long pointer;
  private final int number;
  private final int inlineBytes;

  private QueuePair(ProtectionDomain domain, CompletionQueue sends, CompletionQueue receives, long pointer, int inlineBytes) {
    super(domain, sends, receives);
    this.domain = domain;
    this.pointer = pointer;
    this.inlineBytes = inlineBytes;
    number = Memory.getInt(pointer + ibv_qp.qp_num$offset());
  }

  /**
   * @param sendDepth work requests that may be under way
   * @param inlineBytes how much data a request should be able to carry in itself; see {@link #inlineBytes}
   */
  public static QueuePair create(ProtectionDomain domain, CompletionQueue sends, CompletionQueue receives, int sendDepth, int receiveDepth, int inlineBytes) {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(ibv_qp_init_attr.layout()).address();
      Memory.putLong(at + ibv_qp_init_attr.send_cq$offset(), sends.pointer());
      Memory.putLong(at + ibv_qp_init_attr.recv_cq$offset(), receives.pointer());
      Memory.putInt(at + ibv_qp_init_attr.qp_type$offset(), IBV_QPT_RC());
      long cap = at + ibv_qp_init_attr.cap$offset();
      Memory.putInt(cap + ibv_qp_cap.max_send_wr$offset(), sendDepth);
      Memory.putInt(cap + ibv_qp_cap.max_recv_wr$offset(), receiveDepth);
      Memory.putInt(cap + ibv_qp_cap.max_send_sge$offset(), 1);
      Memory.putInt(cap + ibv_qp_cap.max_recv_sge$offset(), 1);
      Memory.putInt(cap + ibv_qp_cap.max_inline_data$offset(), inlineBytes);
      long pointer = Verbs.pointer("ibv_create_qp", "sendDepth=" + sendDepth + " receiveDepth=" + receiveDepth + " inlineBytes=" + inlineBytes,
          domain.pointer(), at);
      return new QueuePair(domain, sends, receives, pointer, Memory.getInt(cap + ibv_qp_cap.max_inline_data$offset()));
    }
  }

  public int number() {
    return number;
  }

  /** The address by which asynchronous events name it. */
  public long pointer() {
    requireOpen();
    return pointer;
  }

  /** What a request can carry in itself: at least what was asked for. */
  public int inlineBytes() {
    return inlineBytes;
  }

  MemorySegment postSend() {
    return domain.device().postSend();
  }

  MemorySegment postReceive() {
    return domain.device().postReceive();
  }

  /** RESET to INIT. @param remoteAccess {@code IBV_ACCESS_REMOTE_*} that the peer may have */
  public void initialize(int port, int remoteAccess) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_INIT());
      Memory.putShort(at + ibv_qp_attr.pkey_index$offset(), (short) 0);
      Memory.putByte(at + ibv_qp_attr.port_num$offset(), (byte) port);
      Memory.putInt(at + ibv_qp_attr.qp_access_flags$offset(), remoteAccess);
      modify(at, IBV_QP_STATE() | IBV_QP_PKEY_INDEX() | IBV_QP_PORT() | IBV_QP_ACCESS_FLAGS(), "to INIT");
    }
  }

  /** INIT to ready to receive; from now on the peer can reach us. */
  public void readyToReceive(PathSettings path, RemoteQueuePair remote) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_RTR());
      Memory.putInt(at + ibv_qp_attr.path_mtu$offset(), path.mtu());
      Memory.putInt(at + ibv_qp_attr.dest_qp_num$offset(), remote.number());
      Memory.putInt(at + ibv_qp_attr.rq_psn$offset(), remote.firstPacket() & SEQUENCE_MASK);
      Memory.putByte(at + ibv_qp_attr.max_dest_rd_atomic$offset(), (byte) 1);
      Memory.putByte(at + ibv_qp_attr.min_rnr_timer$offset(), RECEIVER_NOT_READY_TIMER);
      long route = at + ibv_qp_attr.ah_attr$offset();
      Memory.putShort(route + ibv_ah_attr.dlid$offset(), (short) remote.lid());
      Memory.putByte(route + ibv_ah_attr.sl$offset(), (byte) path.serviceLevel());
      Memory.putByte(route + ibv_ah_attr.is_global$offset(), (byte) (remote.lid() == 0 ? 1 : 0));
      Memory.putByte(route + ibv_ah_attr.port_num$offset(), (byte) path.port());
      long global = route + ibv_ah_attr.grh$offset();
      Memory.putLong(global + ibv_global_route.dgid$offset(), Long.reverseBytes(remote.gidHigh()));
      Memory.putLong(global + ibv_global_route.dgid$offset() + 8, Long.reverseBytes(remote.gidLow()));
      Memory.putByte(global + ibv_global_route.sgid_index$offset(), (byte) path.gidIndex());
      Memory.putByte(global + ibv_global_route.hop_limit$offset(), (byte) HOPS);
      Memory.putByte(global + ibv_global_route.traffic_class$offset(), (byte) path.trafficClass());
      modify(at, IBV_QP_STATE() | IBV_QP_AV() | IBV_QP_PATH_MTU() | IBV_QP_DEST_QPN() | IBV_QP_RQ_PSN() | IBV_QP_MAX_DEST_RD_ATOMIC()
          | IBV_QP_MIN_RNR_TIMER(), "to RTR, peer " + remote.number());
    }
  }

  /** Ready to receive to ready to send. @param firstPacket what the peer was told of us */
  public void readyToSend(PathSettings path, int firstPacket) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_RTS());
      patience(at, path);
      Memory.putInt(at + ibv_qp_attr.sq_psn$offset(), firstPacket & SEQUENCE_MASK);
      Memory.putByte(at + ibv_qp_attr.max_rd_atomic$offset(), (byte) 1);
      modify(at, IBV_QP_STATE() | IBV_QP_TIMEOUT() | IBV_QP_RETRY_CNT() | IBV_QP_RNR_RETRY() | IBV_QP_SQ_PSN() | IBV_QP_MAX_QP_RD_ATOMIC(), "to RTS");
    }
  }

  /** As {@link #initialize(int, int)}, with the port that the connection goes through. */
  public void initialize(ConnectionId connection, int remoteAccess) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_INIT());
      int mask = connection.fill(at);
      Memory.putInt(at + ibv_qp_attr.qp_access_flags$offset(), remoteAccess);
      modify(at, mask, "to INIT");
    }
  }

  /** As {@link #readyToReceive(PathSettings, RemoteQueuePair)}, with the path and peer of the connection. @return {@code IBV_MTU_*} */
  public int readyToReceive(ConnectionId connection, int trafficClass) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_RTR());
      int mask = connection.fill(at);
      Memory.putByte(at + ibv_qp_attr.min_rnr_timer$offset(), RECEIVER_NOT_READY_TIMER);
      if (trafficClass != 0) {
        Memory.putByte(at + ibv_qp_attr.ah_attr$offset() + ibv_ah_attr.grh$offset() + ibv_global_route.traffic_class$offset(), (byte) trafficClass);
      }
      modify(at, mask, "to RTR through the connection manager");
      return Memory.getInt(at + ibv_qp_attr.path_mtu$offset());
    }
  }

  /** As {@link #readyToSend(PathSettings, int)}; of the path only times and retries are used, which the manager takes for longer than a link can wait. */
  public void readyToSend(ConnectionId connection, PathSettings path) {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, IBV_QPS_RTS());
      int mask = connection.fill(at);
      patience(at, path);
      modify(at, mask, "to RTS through the connection manager");
    }
  }

  private static void patience(long attributes, PathSettings path) {
    Memory.putByte(attributes + ibv_qp_attr.timeout$offset(), (byte) path.timeout());
    Memory.putByte(attributes + ibv_qp_attr.retry_cnt$offset(), (byte) path.retries());
    Memory.putByte(attributes + ibv_qp_attr.rnr_retry$offset(), (byte) path.receiverNotReadyRetries());
  }

  /** Any state to ERR: what is under way is flushed, nothing more comes in. Returns 0 or a positive errno. */
  public int fail() {
    try (Arena arena = Arena.ofConfined()) {
      return Verbs.status("ibv_modify_qp", pointer(), attributes(arena, IBV_QPS_ERR()), IBV_QP_STATE());
    }
  }

  /** {@code IBV_QPS_*}, asked of the device. */
  public int state() {
    try (Arena arena = Arena.ofConfined()) {
      long at = attributes(arena, 0);
      long init = arena.allocate(ibv_qp_init_attr.layout()).address();
      Verbs.check("ibv_query_qp", "queue pair " + number, pointer(), at, IBV_QP_STATE(), init);
      return Memory.getInt(at + ibv_qp_attr.qp_state$offset());
    }
  }

  private static long attributes(Arena arena, int state) {
    long at = arena.allocate(ibv_qp_attr.layout()).address();
    Memory.putInt(at + ibv_qp_attr.qp_state$offset(), state);
    return at;
  }

  private void modify(long attributes, int mask, String what) {
    Verbs.check("ibv_modify_qp", "queue pair " + number + " " + what, pointer(), attributes, mask);
  }

  @Override
  void destroy() {
    Verbs.check("ibv_destroy_qp", "queue pair " + number, pointer);
  }

  @Override
  public String toString() {
    return "queue pair " + number;
  }
}
