package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EBADF;
import static dev.dyad.bindings.abi.linux.linux_h.ECONNREFUSED;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.ENOBUFS;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_DONTWAIT;
import static dev.dyad.bindings.abi.linux.linux_h.MSG_TRUNC;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_DGRAM;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * {@code -netdev dgram} over unix datagram sockets (QEMU 7.2 and later): a frame is a datagram, both sides have a name.
 *
 * <p>The peer may come and go: what is sent while it is not there is lost and counted, as on a pulled cable, and a new
 * socket under its name is found again. Owns the socket and removes its own name.
 */
public final class DgramPort implements PacketPort {
  private static final int PREFIX_BYTES = 4;

  private final FileDescriptor socket;
  private final Path localPath;
  private final SocketAddress remote;
  private final Count lost = new Count();
  private boolean connected;

  /**
   * @param localPath QEMU's {@code remote.path}; replaced if a dead socket left it
   * @param remotePath QEMU's {@code local.path}
   */
  public DgramPort(Path localPath, Path remotePath) {
    this.localPath = localPath;
    this.remote = SocketAddress.unix(remotePath.toString());
    try {
      Files.deleteIfExists(localPath);
    } catch (IOException e) {
      throw new UncheckedIOException("socket " + localPath + " cannot be replaced", e);
    }
    try {
      this.socket = Sockets.bind(SocketAddress.unix(localPath.toString()), SOCK_DGRAM());
    } catch (NativeException e) {
      throw new IllegalStateException("socket " + localPath + " cannot be made: " + e.getMessage(), e);
    }
  }

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  @Override
  public long receive(long at, long room) {
    long most = Math.min(room, WIRE_FRAME_BYTES_MAX) - PREFIX_BYTES;
    long got = Sockets.receive(socket.fd(), at + PREFIX_BYTES, most, MSG_DONTWAIT() | MSG_TRUNC());
    if (got > most) {
      lost.add(1);
      return AGAIN;
    }
    if (got > 0) {
      Memory.putInt(at, Integer.reverseBytes((int) got));
      return got + PREFIX_BYTES;
    }
    return got == -EBADF() ? CLOSED : AGAIN;
  }

  /** One frame. */
  @Override
  public long send(long from, long bytes) {
    long length = Integer.reverseBytes(Memory.getInt(from));
    if (!connected && !connect()) {
      lost.add(1);
      return length + PREFIX_BYTES;
    }
    long sent = Sockets.send(socket.fd(), from + PREFIX_BYTES, length, MSG_DONTWAIT());
    if (sent == -EAGAIN() || sent == -EINTR() || sent == -ENOBUFS()) {
      return AGAIN;
    }
    if (sent == -EBADF()) {
      return CLOSED;
    }
    if (sent < 0) {
      connected = sent != -ECONNREFUSED() && connected;
      lost.add(1);
    }
    return length + PREFIX_BYTES;
  }

  /** To whatever has the peer's name now; connected, the kernel refuses datagrams of strangers. */
  private boolean connect() {
    connected = Sockets.connect(socket.fd(), remote) == 0;
    return connected;
  }

  @Override
  public int receiveFd() {
    return socket.fd();
  }

  @Override
  public int sendFd() {
    return socket.fd();
  }

  @Override
  public long lostFrames() {
    return lost.get();
  }

  @Override
  public void close() {
    if (socket.isOpen()) {
      socket.close();
      try {
        Files.deleteIfExists(localPath);
      } catch (IOException e) {
        throw new UncheckedIOException("socket " + localPath + " cannot be removed", e);
      }
    }
  }
}
