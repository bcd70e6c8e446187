package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_PS_TCP;

import dev.dyad.bindings.abi.verbs.ibv_context;
import dev.dyad.bindings.abi.verbs.rdma_cm_id;
import dev.dyad.bindings.abi.verbs.rdma_conn_param;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import java.lang.foreign.Arena;

/**
 * One connection, or a listener, of the kernel's connection manager: what a socket is to TCP. The queue pair stays its owner's: it is named by its
 * number, and goes through its states with the attributes found here ({@link QueuePair#initialize(ConnectionId, int)}). Answers come as events of
 * the channel. Closing disconnects. rdma_cm(7).
 */
public final class ConnectionId extends VerbsObject {

  /** Of what either side tells the other while they connect; 56 is what the manager's first message has room for. */
  public static final int TOLD_BYTES_MAX = 56;

  private static final int NAME_BYTES = 256;
  private static final int RETRIES_MAX = 6;

  private final ConnectionChannel channel;
  private final long pointer;

  ConnectionId(ConnectionChannel channel, long pointer) {
    super(channel);
    this.channel = channel;
    this.pointer = pointer;
    channel.know(this);
  }

  public static ConnectionId create(ConnectionChannel channel) {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(Long.BYTES, Long.BYTES).address();
      Verbs.check("rdma_create_id", "", channel.pointer(), at, 0, RDMA_PS_TCP());
      return new ConnectionId(channel, Memory.getLong(at));
    }
  }

  long pointer() {
    requireOpen();
    return pointer;
  }

  /** @param local port 0: any that is free */
  public void bind(SocketAddress local) {
    try (Arena arena = Arena.ofConfined()) {
      Verbs.check("rdma_bind_addr", local.toString(), pointer(), encoded(local, arena));
    }
  }

  public void listen(int backlog) {
    Verbs.check("rdma_listen", "backlog=" + backlog, pointer(), backlog);
  }

  /** The local port of the manager's own, once bound. */
  public int port() {
    return Short.toUnsignedInt(Short.reverseBytes((short) Verbs.call("rdma_get_src_port", pointer()).value()));
  }

  /** Finds the device by which the peer is reached: {@code ADDR_RESOLVED} or {@code ADDR_ERROR} follows. @param local port 0 */
  public void resolveAddress(SocketAddress local, SocketAddress remote, int millis) {
    try (Arena arena = Arena.ofConfined()) {
      Verbs.check("rdma_resolve_addr", local + " to " + remote, pointer(), encoded(local, arena), encoded(remote, arena), millis);
    }
  }

  /** Finds the path there: {@code ROUTE_RESOLVED} or {@code ROUTE_ERROR} follows. */
  public void resolveRoute(int millis) {
    Verbs.check("rdma_resolve_route", deviceName(), pointer(), millis);
  }

  /** The device's name, once it is known: after {@code ADDR_RESOLVED}, or of a request. */
  public String deviceName() {
    long context = Memory.getLong(pointer() + rdma_cm_id.verbs$offset());
    return context == 0 ? "" : Memory.getString(Verbs.call("ibv_get_device_name", Memory.getLong(context + ibv_context.device$offset())).value(), NAME_BYTES);
  }

  /** Asks the peer: {@code CONNECT_RESPONSE}, {@code REJECTED} or {@code UNREACHABLE} follows. */
  public void connect(QueuePair queuePair, byte[] told) {
    with("rdma_connect", queuePair, told);
  }

  /** Answers a request. The queue pair must be ready to send before. */
  public void accept(QueuePair queuePair, byte[] told) {
    with("rdma_accept", queuePair, told);
  }

  public void reject() {
    Verbs.check("rdma_reject", "", pointer(), 0, 0);
  }

  /** Ends what {@link #connect} began: the peer learns that its answer has come. */
  public void establish() {
    Verbs.check("rdma_establish", "", pointer());
  }

  /** The peer gets {@code DISCONNECTED}; queue pairs stay as they are. Returns 0 or a positive errno. */
  public int disconnect() {
    return Verbs.status("rdma_disconnect", pointer());
  }

  private void with(String function, QueuePair queuePair, byte[] told) {
    if (told.length > TOLD_BYTES_MAX) {
      throw new IllegalArgumentException(told.length + " bytes to tell: there is room for " + TOLD_BYTES_MAX);
    }
    try (Arena arena = Arena.ofConfined()) {
      long data = arena.allocate(TOLD_BYTES_MAX).address();
      Memory.copyFrom(told, 0, data, told.length);
      long at = arena.allocate(rdma_conn_param.layout()).address();
      Memory.putLong(at + rdma_conn_param.private_data$offset(), data);
      Memory.putByte(at + rdma_conn_param.private_data_len$offset(), (byte) told.length);
      Memory.putByte(at + rdma_conn_param.responder_resources$offset(), (byte) 1);
      Memory.putByte(at + rdma_conn_param.initiator_depth$offset(), (byte) 1);
      Memory.putByte(at + rdma_conn_param.retry_count$offset(), (byte) RETRIES_MAX);
      Memory.putByte(at + rdma_conn_param.rnr_retry_count$offset(), (byte) RETRIES_MAX);
      Memory.putInt(at + rdma_conn_param.qp_num$offset(), queuePair.number());
      Verbs.check(function, queuePair.toString(), pointer(), at);
    }
  }

  /** Fills in what a queue pair needs for the state that stands there. @param attributes an {@code ibv_qp_attr} @return its mask */
  int fill(long attributes) {
    try (Arena arena = Arena.ofConfined()) {
      long mask = arena.allocate(Integer.BYTES, Integer.BYTES).address();
      Verbs.check("rdma_init_qp_attr", deviceName(), pointer(), attributes, mask);
      return Memory.getInt(mask);
    }
  }

  private static long encoded(SocketAddress address, Arena arena) {
    long at = arena.allocate(address.length(), Long.BYTES).address();
    address.encode(at);
    return at;
  }

  @Override
  void destroy() {
    channel.forget(pointer);
    Verbs.check("rdma_destroy_id", "", pointer);
  }

  @Override
  public String toString() {
    return "connection";
  }
}
