package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.ENOBUFS;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Sockets;

/**
 * QEMU's stream framing over a unix stream socket: {@code -netdev stream} (QEMU 7.2 and later), and the sockets of redirected
 * frames ({@link RedirectorPair}). The socket's bytes are the wire form itself, so a batch is one call each way.
 *
 * <p>Owns the socket.
 */
public final class StreamPort implements PacketPort {
  private final FileDescriptor socket;
  private final int prefixBytes;

  /**
   * @param socket connected; blocking or not, calls never wait
   * @param prefixBytes 4, or 8 with {@code vnet_hdr_support}
   */
  public StreamPort(FileDescriptor socket, int prefixBytes) {
    if (prefixBytes != 4 && prefixBytes != 8) {
      throw new IllegalArgumentException("prefix of " + prefixBytes + " bytes: 4 or 8");
    }
    this.socket = socket;
    this.prefixBytes = prefixBytes;
  }

  @Override
  public int prefixBytes() {
    return prefixBytes;
  }

  @Override
  public long receive(long at, long room) {
    long got = Sockets.receive(socket.fd(), at, room, MSG_DONTWAIT());
    return got > 0 ? got : got == 0 ? CLOSED : againOrClosed(got);
  }

  @Override
  public long send(long from, long bytes) {
    long sent = Sockets.send(socket.fd(), from, bytes, MSG_DONTWAIT());
    return sent >= 0 ? sent : againOrClosed(sent);
  }

  private static int againOrClosed(long error) {
    return error == -EAGAIN() || error == -EINTR() || error == -ENOBUFS() ? AGAIN : CLOSED;
  }

  @Override
  public int receiveFd() {
    return socket.fd();
  }

  @Override
  public int sendFd() {
    return socket.fd();
  }

  /** Bytes sent that the other end has not read yet. */
  public int unreadByPeer() {
    return Sockets.unsentBytes(socket.fd());
  }

  /** None: a stream loses nothing while it lives. */
  @Override
  public long lostFrames() {
    return 0;
  }

  @Override
  public void close() {
    socket.close();
  }
}
