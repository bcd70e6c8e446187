package dev.dyad.engine.link;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;

/** Both ends of a link in one process, for tests. */
public record LinkPair(ReplicationLink sender, ReplicaLink receiver) implements AutoCloseable {
  /** Which link. */
  public enum Kind {
    TCP,
    SHM
  }

  public static LinkPair open(Kind kind, long ringBytes) {
    FileDescriptor[] ends = connected(kind);
    if (kind == Kind.TCP) {
      return new LinkPair(new TcpReplicationLink(ends[0], ringBytes), new TcpReplicaLink(ends[1], ringBytes));
    }
    ShmReplicaLink receiver = ShmReplicaLink.create(ends[1], ringBytes);
    return new LinkPair(ShmReplicationLink.receive(ends[0], ringBytes, 1000), receiver);
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
