package dev.dyad.engine.link;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.link.rdma.RdmaPairs;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;

/** Both ends of a link in one process, for tests. */
public record LinkPair(ReplicationLink sender, ReplicaLink receiver) implements AutoCloseable {
  /** Which link. */
  public enum Kind {
    TCP,
    SHM,
    RDMA_SIMULATED,
    RDMA_SIMULATED_STRIPES,
    RDMA_DEVICE
  }

  public static LinkPair open(Kind kind, long ringBytes) {
    if (kind == Kind.RDMA_SIMULATED || kind == Kind.RDMA_SIMULATED_STRIPES || kind == Kind.RDMA_DEVICE) {
      return rdma(kind, ringBytes);
    }
    FileDescriptor[] ends = connected(kind);
    if (kind == Kind.TCP) {
      return new LinkPair(new TcpReplicationLink(ends[0], ringBytes), new TcpReplicaLink(ends[1], ringBytes));
    }
    ShmReplicaLink receiver = ShmReplicaLink.create(ends[1], ringBytes);
    return new LinkPair(ShmReplicationLink.receive(ends[0], ringBytes, 1000), receiver);
  }

  private static LinkPair rdma(Kind kind, long ringBytes) {
    RdmaConfig config = kind == Kind.RDMA_SIMULATED ? RdmaPairs.calm() : RdmaPairs.calm().withQueuePairs(3, 4096);
    if (kind != Kind.RDMA_DEVICE) {
      RdmaPairs.Pair pair = RdmaPairs.simulated(7, ringBytes, config);
      return new LinkPair(pair.sender(), pair.receiver());
    }
    Optional<String> address = RdmaPairs.deviceAddress();
    Assumptions.assumeTrue(address.isPresent(), "no RDMA device with an active port and an IPv4 address here");
    try {
      RdmaPairs.Pair pair = RdmaPairs.overDevice(address.orElseThrow(), ringBytes, config);
      return new LinkPair(pair.sender(), pair.receiver());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Two connected sockets of the kind that the link runs over. */
  static FileDescriptor[] connected(Kind kind) {
    if (kind == Kind.SHM) {
      return Sockets.pair(linux_h.SOCK_STREAM());
    }
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet("127.0.0.1", 0), 1)) {
      FileDescriptor caller = Sockets.connect(Sockets.localAddress(listener.fd()), linux_h.SOCK_STREAM());
      FileDescriptor accepted = FileDescriptor.adopt(Sockets.accept(listener.fd(), 0));
      Sockets.setNoDelay(caller.fd());
      Sockets.setNoDelay(accepted.fd());
      return new FileDescriptor[] {caller, accepted};
    }
  }

  @Override
  public void close() {
    sender.close();
    receiver.close();
  }
}
