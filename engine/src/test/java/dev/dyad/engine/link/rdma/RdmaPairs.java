package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.StagingRing;
import java.io.IOException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.LongSupplier;

/** Both ends of a link over RDMA in one process, for tests. */
public final class RdmaPairs {
  /** Both ends. */
  public record Pair(ReplicationLink sender, ReplicaLink receiver) {}

  private RdmaPairs() {}

  /** For slow machines: beats so rare that no test sees one by accident. */
  public static RdmaConfig calm() {
    return RdmaConfig.standard().withTimes(14, Duration.ofSeconds(1), Duration.ofSeconds(120));
  }

  /** Over the simulated provider. */
  public static Pair simulated(long seed, long ringBytes, RdmaConfig config) {
    return simulated(seed, ringBytes, config, false, System::nanoTime);
  }

  static Pair simulated(long seed, long ringBytes, RdmaConfig config, boolean breaksOrder, LongSupplier clock) {
    StagingRing near = new StagingRing(ringBytes);
    StagingRing far = new StagingRing(ringBytes);
    SimPort one = new SimPort(seed, near, config, breaksOrder);
    SimPort other = new SimPort(seed + 1, far, config, false);
    SimPort.join(one, other);
    FileDescriptor[] sockets = Sockets.pair(linux_h.SOCK_STREAM());
    return new Pair(new RdmaReplicationLink(one, near, sockets[0], config, clock), new RdmaReplicaLink(other, far, sockets[1], config, clock));
  }

  /** An IPv4 address under which this host has an RDMA device with an active port; empty without one. */
  public static Optional<String> deviceAddress() {
    for (RdmaDevice found : RdmaDevice.list()) {
      try (RdmaContext device = RdmaContext.open(found.name())) {
        Optional<Gid> gid = device.gids().stream().filter(g -> g.isRoceV2() && g.low() >>> 32 == 0xffff && device.port(g.port()).isActive()).findFirst();
        if (gid.isPresent()) {
          return gid.map(Gid::address);
        }
      }
    }
    return Optional.empty();
  }

  /** Over this host's device, from it to itself. */
  public static Pair overDevice(String address, long ringBytes, RdmaConfig config) throws IOException {
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet(address, 0), 1)) {
      PeerSocket caller = PeerSocket.connect(Sockets.localAddress(listener.fd()), Duration.ofSeconds(120));
      PeerSocket called = new PeerSocket(FileDescriptor.adopt(Sockets.accept(listener.fd(), 0)), Duration.ofSeconds(120));
      CompletableFuture<ReplicaLink> receiver = new CompletableFuture<>();
      Thread.ofPlatform().start(() -> {
        try {
          receiver.complete(new RdmaSetup(called, ringBytes, config).receivingEnd());
        } catch (IOException | RuntimeException e) {
          receiver.completeExceptionally(e);
        }
      });
      ReplicationLink sender = new RdmaSetup(caller, ringBytes, config).sendingEnd();
      return new Pair(sender, receiver.join());
    }
  }
}
