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
  private final String without;
  private String fallback = "";
  private String text = "";

  /** @param peer after the handshake; owned by the link that comes of it, closed if none does */
  public RdmaSetup(PeerSocket peer, long ringBytes, RdmaConfig config) {
    this(peer, ringBytes, config, "");
  }

  /** @param without why no device is to be used, or empty */
  public RdmaSetup(PeerSocket peer, long ringBytes, RdmaConfig config, String without) {
    this.peer = peer;
    this.ringBytes = ringBytes;
    this.config = config;
    this.without = without;
  }

  /** What the link is, in one line: its device and path, or tcp and why. */
  public String text() {
    return text;
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
        text = "tcp: " + fallback;
        return null;
      }
      confirm(port, theirs, isReceiving ? theirs : ours, isReceiving);
      text = port.text();
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

  private void confirm(VerbsPort port, RdmaHello theirs, RdmaHello primary, boolean isReceiving) throws IOException {
    Exception failure = null;
    try {
      port.connect(theirs, primary, primary.managed() ? manager(port, primary.queuePairs(), isReceiving) : null);
    } catch (NativeException | IOException e) {
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

  private ManagedConnections manager(VerbsPort port, int queuePairs, boolean isReceiving) throws IOException {
    return isReceiving ? ManagedConnections.ofStandby(peer, port.deviceName(), queuePairs) : ManagedConnections.ofPrimary(peer, port.deviceName());
  }

  /** @return null when there is no device to use; {@link #fallback} says why */
  private @Nullable VerbsPort open(StagingRing ring, boolean isReceiving) throws IOException {
    if (!without.isEmpty()) {
      fallback = without;
      return null;
    }
    if (!Verbs.unavailable().isEmpty()) {
      fallback = Verbs.unavailable();
      return null;
    }
    if (!peer.isInternet()) {
      fallback = "the session is on a unix socket";
      return null;
    }
    InetAddress local = Sockets.localAddress(peer.fd()).toInet().getAddress();
    String problem = "";
    for (RdmaDevice candidate : candidates(RdmaDevice.list(), config)) {
      try {
        VerbsPort port = open(candidate, local, ring, isReceiving);
        if (port != null) {
          return port;
        }
      } catch (NativeException e) {
        problem = "; " + candidate.name() + ": " + e.getMessage();
      }
    }
    fallback = "no RDMA device with an active port has the address " + local.getHostAddress() + (config.device().isEmpty() ? "" : " and is " + config.device()) + problem;
    return null;
  }

  private @Nullable VerbsPort open(RdmaDevice candidate, InetAddress local, StagingRing ring, boolean isReceiving) {
    RdmaContext device = RdmaContext.open(candidate.name());
    try {
      Optional<Gid> gid = config.gidIndex() < 0 ? device.gidOf(local) : device.gids().stream().filter(g -> g.index() == config.gidIndex() && isOfPort(g)).findFirst();
      if (gid.isPresent() && isOfPort(gid.get()) && device.port(gid.get().port()).isActive()) {
        return new VerbsPort(device, gid.get(), ring, isReceiving, config);
      }
    } catch (RuntimeException e) {
      device.close();
      throw e;
    }
    device.close();
    return null;
  }

  private boolean isOfPort(Gid gid) {
    return config.port() == 0 || gid.port() == config.port();
  }

  /** The configured device, else all: first those of the wanted NUMA node, then those on any, so that with two of one address the real one is taken. */
  static List<RdmaDevice> candidates(List<RdmaDevice> all, RdmaConfig config) {
    List<RdmaDevice> devices = new ArrayList<>(all);
    devices.removeIf(device -> !config.device().isEmpty() && !device.name().equals(config.device()));
    devices.sort(Comparator.comparingInt(device -> device.numaNode() < 0 ? 2 : device.numaNode() == config.numaNode() ? 0 : 1));
    return devices;
  }
}
