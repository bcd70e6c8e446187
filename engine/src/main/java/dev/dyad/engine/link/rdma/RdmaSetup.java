package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.abi.wire.dyad_rdma_ready;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.bindings.verbs.Verbs;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.StagingRing;
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;
import java.io.IOException;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Turns a session's socket into a link over RDMA: both sides say what their queue pairs are, connect them, and say that they have. If
 * either cannot and both are content with it, the link is one over tcp; {@link #fallback} says why.
 *
 * <p>Cold code, within the session's time.
 */
public final class RdmaSetup {
  private static final int READY_BYTES = (int) dyad_rdma_ready.sizeof();
  private static final int CONNECTED_AT = (int) dyad_rdma_ready.connected$offset();

  private final PeerSocket peer;
  private final long ringBytes;
  private final RdmaConfig config;
  private String fallback = "";

  /** @param peer after the handshake; owned by the link that comes of it, closed if none does */
  public RdmaSetup(PeerSocket peer, long ringBytes, RdmaConfig config) {
    this.peer = peer;
    this.ringBytes = ringBytes;
    this.config = config;
  }

  /** Why the link is one over tcp, in one line; empty when it is over RDMA. */
  public String fallback() {
    return fallback;
  }

  public ReplicationLink sendingEnd() throws IOException {
    StagingRing ring = new StagingRing(ringBytes);
    VerbsPort port = agree(ring, false);
    if (port == null) {
      ring.close();
      return new TcpReplicationLink(peer.release(), ringBytes);
    }
    return new RdmaReplicationLink(port, ring, peer.release(), config, System::nanoTime);
  }

  public ReplicaLink receivingEnd() throws IOException {
    StagingRing ring = new StagingRing(ringBytes);
    VerbsPort port = agree(ring, true);
    if (port == null) {
      ring.close();
      return new TcpReplicaLink(peer.release(), ringBytes);
    }
    return new RdmaReplicaLink(port, ring, peer.release(), config, System::nanoTime);
  }

  /** @return null when both sides go on with tcp */
  private @Nullable VerbsPort agree(StagingRing ring, boolean isReceiving) throws IOException {
    VerbsPort port = null;
    try {
      port = open(ring, isReceiving);
      RdmaHello ours = port == null ? RdmaHello.none(config.tcpWillDo()) : port.hello();
      peer.write(ours.encode());
      RdmaHello theirs = RdmaHello.decode(peer.read(RdmaHello.BYTES), ringBytes);
      if (port == null || theirs.queuePairs() == 0) {
        fallback = port == null ? fallback : "the peer has no RDMA device that it can use";
        if (port != null) {
          port.close();
        }
        if (!ours.tcpWillDo() || !theirs.tcpWillDo()) {
          throw new IOException("no link over RDMA: " + fallback + "; mend that, or allow tcp on both sides");
        }
        return null;
      }
      confirm(port, theirs, isReceiving ? theirs : ours);
      return port;
    } catch (IOException | RuntimeException e) {
      if (port != null) {
        port.close();
      }
      ring.close();
      peer.close();
      throw e;
    }
  }

  private void confirm(VerbsPort port, RdmaHello theirs, RdmaHello primary) throws IOException {
    NativeException failure = null;
    try {
      port.connect(theirs, primary);
    } catch (NativeException e) {
      failure = e;
    }
    peer.write(ByteBuffer.allocate(READY_BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(wire_h.DYAD_RDMA_MAGIC()).putInt(CONNECTED_AT, failure == null ? 1 : 0).array());
    if (failure != null) {
      throw new IOException("queue pairs do not connect: " + failure.getMessage(), failure);
    }
    ByteBuffer answer = ByteBuffer.wrap(peer.read(READY_BYTES)).order(ByteOrder.LITTLE_ENDIAN);
    if (answer.getInt(0) != wire_h.DYAD_RDMA_MAGIC() || answer.getInt(CONNECTED_AT) != 1) {
      throw new IOException("the peer's queue pairs do not connect; its log says why");
    }
  }

  /** @return null when there is no device to use; {@link #fallback} says why */
  private @Nullable VerbsPort open(StagingRing ring, boolean isReceiving) throws IOException {
    if (!Verbs.unavailable().isEmpty()) {
      fallback = Verbs.unavailable();
      return null;
    }
    if (!peer.isInternet()) {
      fallback = "the session is on a unix socket";
      return null;
    }
    InetAddress local = Sockets.localAddress(peer.fd()).toInet().getAddress();
    for (RdmaDevice candidate : candidates()) {
      RdmaContext device = RdmaContext.open(candidate.name());
      Optional<Gid> gid = config.gidIndex() < 0 ? device.gidOf(local) : device.gids().stream().filter(g -> g.index() == config.gidIndex()).findFirst();
      if (gid.isPresent() && device.port(gid.get().port()).isActive()) {
        return new VerbsPort(device, gid.get(), ring, isReceiving, config);
      }
      device.close();
    }
    fallback = "no RDMA device with an active port has the address " + local.getHostAddress() + (config.device().isEmpty() ? "" : " or is " + config.device());
    return null;
  }

  /** The configured device, else all; those on a NUMA node before those on none, so that with two of one address the real one is taken. */
  private List<RdmaDevice> candidates() {
    List<RdmaDevice> devices = new ArrayList<>(RdmaDevice.list());
    devices.removeIf(device -> !config.device().isEmpty() && !device.name().equals(config.device()));
    devices.sort(Comparator.comparingInt(RdmaDevice::numaNode).reversed());
    return devices;
  }
}
