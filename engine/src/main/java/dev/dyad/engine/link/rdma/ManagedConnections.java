package dev.dyad.engine.link.rdma;

import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_ACCESS_REMOTE_WRITE;
import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_CM_EVENT_ADDR_RESOLVED;
import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_CM_EVENT_CONNECT_REQUEST;
import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_CM_EVENT_CONNECT_RESPONSE;
import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_CM_EVENT_ROUTE_RESOLVED;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.abi.wire.dyad_rdma_listening;
import dev.dyad.bindings.abi.wire.dyad_rdma_request;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.verbs.ConnectionChannel;
import dev.dyad.bindings.verbs.ConnectionEvent;
import dev.dyad.bindings.verbs.ConnectionId;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.engine.link.PeerSocket;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Connects a link's queue pairs through the kernel's connection manager, which finds the path: that of InfiniBand's subnet manager, or the route, VLAN
 * and priority of an address. What the session has said stays the authority: the standby takes only requests of the queue pairs that the
 * primary named there, in their order.
 *
 * <p>Thread: the one that sets up the link. The connections live as long as this, and are not listened to once the link is up: how it ends is
 * told by what {@link RdmaEnd} looks at.
 */
final class ManagedConnections implements AutoCloseable {
  private static final int MAGIC = wire_h.DYAD_RDMA_MAGIC();
  private static final int LISTENING_BYTES = (int) dyad_rdma_listening.sizeof();
  private static final int PORT_AT = (int) dyad_rdma_listening.port$offset();
  private static final int REQUEST_BYTES = (int) dyad_rdma_request.sizeof();
  private static final int INDEX_AT = (int) dyad_rdma_request.index$offset();

  private final PeerSocket session;
  private final String device;
  private final InetAddress local;
  private final ConnectionChannel channel;
  private @Nullable SocketAddress standby;

  private ManagedConnections(PeerSocket session, String device, ConnectionChannel channel) {
    this.session = session;
    this.device = device;
    this.channel = channel;
    local = Sockets.localAddress(session.fd()).toInet().getAddress();
  }

  /** Listens, and tells the primary where. */
  static ManagedConnections ofStandby(PeerSocket session, String device, int queuePairs) throws IOException {
    ManagedConnections connections = null;
    int port = 0;
    try {
      connections = new ManagedConnections(session, device, ConnectionChannel.create());
      ConnectionId listener = ConnectionId.create(connections.channel);
      listener.bind(connections.anyPort());
      listener.listen(queuePairs);
      port = listener.port();
      return connections;
    } catch (NativeException e) {
      if (connections != null) {
        connections.close();
      }
      throw new IOException("rdma_cm cannot listen: " + e.getMessage(), e);
    } finally {
      session.write(ByteBuffer.allocate(LISTENING_BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(MAGIC).putInt(PORT_AT, port).array());
    }
  }

  /** Learns where the standby listens. */
  static ManagedConnections ofPrimary(PeerSocket session, String device) throws IOException {
    ByteBuffer told = ByteBuffer.wrap(session.read(LISTENING_BYTES)).order(ByteOrder.LITTLE_ENDIAN);
    int port = told.getInt(PORT_AT);
    if (told.getInt(0) != MAGIC || port <= 0 || port > 0xffff) {
      throw new IOException("the peer does not listen through rdma_cm; its log says why");
    }
    try {
      ManagedConnections connections = new ManagedConnections(session, device, ConnectionChannel.create());
      connections.standby = SocketAddress.inet(new InetSocketAddress(Sockets.peerAddress(session.fd()).toInet().getAddress(), port));
      return connections;
    } catch (NativeException e) {
      throw new IOException("rdma_cm cannot be used: " + e.getMessage(), e);
    }
  }

  /**
   * Connects one queue pair, from RESET to ready to send.
   *
   * @param peer number of the peer's queue pair
   * @param path whose times and retries are used
   * @param postReceives run before the peer can send
   * @return {@code IBV_MTU_*} of the path that was found
   */
  int connect(QueuePair pair, int index, int peer, PathSettings path, Runnable postReceives) throws IOException {
    if (standby == null) {
      return take(pair, index, peer, path, postReceives);
    }
    ConnectionId id = ConnectionId.create(channel);
    id.resolveAddress(anyPort(), standby, session.millisLeft());
    await(RDMA_CM_EVENT_ADDR_RESOLVED());
    id.resolveRoute(session.millisLeft());
    await(RDMA_CM_EVENT_ROUTE_RESOLVED());
    prepare(id, pair, postReceives);
    id.connect(pair, request(index));
    requireNumber(await(RDMA_CM_EVENT_CONNECT_RESPONSE()), peer);
    int mtu = pair.readyToReceive(id, path.trafficClass());
    pair.readyToSend(id, path);
    id.establish();
    return mtu;
  }

  private int take(QueuePair pair, int index, int peer, PathSettings path, Runnable postReceives) throws IOException {
    ConnectionEvent request = await(RDMA_CM_EVENT_CONNECT_REQUEST());
    ConnectionId id = Objects.requireNonNull(request.id());
    ByteBuffer told = ByteBuffer.wrap(request.told()).order(ByteOrder.LITTLE_ENDIAN);
    if (told.remaining() < REQUEST_BYTES || told.getInt(0) != MAGIC || told.getInt(INDEX_AT) != index || request.queuePair() != peer) {
      id.reject();
      throw new IOException("rdma_cm: somebody else than the session's peer asked to connect");
    }
    prepare(id, pair, postReceives);
    int mtu = pair.readyToReceive(id, path.trafficClass());
    pair.readyToSend(id, path);
    id.accept(pair, request(index));
    return mtu;
  }

  private void prepare(ConnectionId id, QueuePair pair, Runnable postReceives) throws IOException {
    if (!id.deviceName().equals(device)) {
      throw new IOException("rdma_cm goes through " + id.deviceName() + ", the link's device is " + device + "; use setup=tcp, or that device");
    }
    pair.initialize(id, IBV_ACCESS_REMOTE_WRITE());
    postReceives.run();
  }

  private static void requireNumber(ConnectionEvent response, int peer) throws IOException {
    if (response.queuePair() != peer) {
      throw new IOException("rdma_cm: queue pair " + response.queuePair() + " answers, the session's peer has " + peer);
    }
  }

  private static byte[] request(int index) {
    return ByteBuffer.allocate(REQUEST_BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(MAGIC).putInt(INDEX_AT, index).array();
  }

  private SocketAddress anyPort() {
    return SocketAddress.inet(new InetSocketAddress(local, 0));
  }

  /** Waits for an event. The standby's wait ends as well when the primary says over the session that it has given up; the primary itself is refused. */
  private ConnectionEvent await(int type) throws IOException {
    try (Poll both = new Poll(2)) {
      both.set(0, channel.fd(), linux_h.POLLIN());
      both.set(1, standby == null ? session.fd() : -1, linux_h.POLLIN());
      while (true) {
        for (ConnectionEvent event = channel.next(); event != null; event = channel.next()) {
          if (event.type() == type) {
            return event;
          }
          if (event.isFailure()) {
            throw new IOException("rdma_cm: " + event);
          }
        }
        if (both.ready(1) != 0) {
          throw new IOException("rdma_cm: the peer gave up; its log says why");
        }
        if (session.millisLeft() == 0) {
          throw new IOException("rdma_cm took longer than allowed");
        }
        both.await(session.millisLeft());
      }
    }
  }

  @Override
  public void close() {
    channel.close();
  }
}
