package dev.dyad.engine.link;

import dev.dyad.engine.link.rdma.RdmaSetup;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;
import java.io.IOException;

/**
 * A connection whose handshake is done, with what was agreed. Becomes one end of a link: shared memory over a unix socket, tcp over an
 * internet one.
 *
 * <p>Owns the connection until one of the methods that take it, or {@link #close}.
 */
public final class Session implements AutoCloseable {
  private final PeerSocket peer;
  private final Offer offer;
  private final long ringBytes;

  Session(PeerSocket peer, Offer offer, long ringBytes) {
    this.peer = peer;
    this.offer = offer;
    this.ringBytes = ringBytes;
  }

  /** What the caller said. */
  public Offer offer() {
    return offer;
  }

  /** Size of the ring that both sides use. */
  public long ringBytes() {
    return ringBytes;
  }

  /**
   * The sending end. May wait for the peer's shared memory, within what is left of the handshake's time.
   *
   * @throws IOException when that does not come; the session is closed then
   */
  public ReplicationLink sendingEnd() throws IOException {
    if (peer.isInternet()) {
      return new TcpReplicationLink(peer.release(), ringBytes);
    }
    try {
      peer.awaitReadable();
    } catch (IOException e) {
      peer.close();
      throw e;
    }
    return ShmReplicationLink.receive(peer.release(), ringBytes, 0);
  }

  /** The receiving end. */
  public ReplicaLink receivingEnd() {
    return peer.isInternet() ? new TcpReplicaLink(peer.release(), ringBytes) : ShmReplicaLink.create(peer.release(), ringBytes);
  }

  /** Whether the two sides may be different hosts. */
  public boolean isInternet() {
    return peer.isInternet();
  }

  /**
   * Takes an internet connection for a link over RDMA, or over tcp if that is wished or allowed; the set-up tells which it is. The other side must do
   * the same: what each can do is told first.
   */
  public RdmaSetup overRdma(LinkConfig config) {
    return new RdmaSetup(peer, ringBytes, config.rdma().withTcpWillDo(config.wish() != LinkConfig.Wish.RDMA), config.wish() == LinkConfig.Wish.TCP ? "tcp was asked for here" : "");
  }

  @Override
  public void close() {
    peer.close();
  }
}
