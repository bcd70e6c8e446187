package dev.dyad.engine.link;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.wire.RefusedException;
import java.io.IOException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Calls listeners, one at a time, each within a time of its own: connect, handshake, and what a link still has to agree on with the peer. Closing ends the call
 * under way at once.
 *
 * <p>Thread: the caller's; {@link #close} any.
 */
public final class PeerCaller implements AutoCloseable {
  /** Makes of a session what the caller wants of it, within what is left of the call's time. Owns the session. */
  @FunctionalInterface
  public interface Maker<T> {
    T make(Session session) throws IOException;
  }

  private final @Nullable SharedKey key;
  private final Duration timeout;

  /** Both guarded by this. */
  private @Nullable PeerSocket present;

  private boolean closed;

  /**
   * @param key what we prove to know, or null
   * @param timeout of a call
   */
  public PeerCaller(@Nullable SharedKey key, Duration timeout) {
    this.key = key;
    this.timeout = timeout;
  }

  /**
   * @throws RefusedException by either side
   * @throws IOException the connection broke, the time is over, or this was closed
   */
  public <T> T call(SocketAddress to, Offer offer, Maker<T> maker) throws IOException, RefusedException {
    PeerSocket peer = PeerSocket.unconnected(to, timeout);
    begin(peer);
    try {
      peer.connect(to);
      return maker.make(Handshake.call(peer, offer, key));
    } catch (IOException | RefusedException | RuntimeException e) {
      peer.close(); // does nothing to a descriptor that was given away
      throw e;
    } finally {
      end();
    }
  }

  private synchronized void begin(PeerSocket peer) throws IOException {
    if (closed) {
      peer.close();
      throw new IOException("no call to a peer any more: this side ends");
    }
    present = peer;
  }

  private synchronized void end() {
    present = null;
  }

  /** Ends the call under way, and all that are tried later. Links that were made are not touched. */
  @Override
  public synchronized void close() {
    closed = true;
    PeerSocket calling = present;
    if (calling != null) {
      calling.abort();
    }
  }
}
