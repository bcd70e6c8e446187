package dev.dyad.engine.link;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import java.io.EOFException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;

/**
 * A connected stream socket before its ring starts: whole messages in and out, all within one deadline. A protected transport takes its place
 * here, between the connect and the handshake.
 *
 * <p>One thread, which another one may {@link #abort}; cold code. Owns the descriptor until {@link #release}.
 */
public final class PeerSocket implements AutoCloseable {
  private static final int BUFFER_BYTES = Mapping.PAGE_BYTES;

  private final FileDescriptor socket;
  private final Mapping buffer = Mapping.anonymous(BUFFER_BYTES);
  private final long deadlineNanos;
  private final boolean internet;
  private volatile boolean aborted;

  /**
   * @param connected owned from now on
   * @param timeout for everything that is read and written here, together
   */
  public PeerSocket(FileDescriptor connected, Duration timeout) {
    socket = connected;
    deadlineNanos = System.nanoTime() + timeout.toNanos();
    connected.setNonBlocking(true);
    internet = Sockets.localAddress(connected.fd()).isInet();
    if (internet) {
      Sockets.setNoDelay(connected.fd());
    }
  }

  /**
   * Connects within the time-out, which then goes on for the handshake.
   *
   * @throws IOException in one line
   */
  public static PeerSocket connect(SocketAddress to, Duration timeout) throws IOException {
    PeerSocket peer = unconnected(to, timeout);
    try {
      peer.connect(to);
      return peer;
    } catch (IOException | RuntimeException e) {
      peer.close();
      throw e;
    }
  }

  /** One that is still to be connected to {@code to}, so that it can be aborted meanwhile. */
  static PeerSocket unconnected(SocketAddress to, Duration timeout) {
    return new PeerSocket(Sockets.open(to.family(), linux_h.SOCK_STREAM()), timeout);
  }

  void connect(SocketAddress to) throws IOException {
    int result = Sockets.connect(socket.fd(), to);
    if (result == -linux_h.EINPROGRESS()) {
      await(linux_h.POLLOUT(), "connecting to " + to);
      result = -Sockets.pendingError(socket.fd());
    }
    if (result < 0) {
      throw new IOException("connecting to " + to + " failed: " + Errno.name(-result) + "; is a standby listening there?");
    }
  }

  /** Whether it is an internet socket, as opposed to a unix one. */
  public boolean isInternet() {
    return internet;
  }

  public int fd() {
    return socket.fd();
  }

  public int millisLeft() {
    return (int) Math.max(0, Math.min(Integer.MAX_VALUE, (deadlineNanos - System.nanoTime()) / 1_000_000));
  }

  public void write(byte[] bytes) throws IOException {
    for (int done = 0; done < bytes.length; ) {
      int piece = Math.min(BUFFER_BYTES, bytes.length - done);
      Memory.copyFrom(bytes, done, buffer.hostVirt(), piece);
      long result = Sockets.send(socket.fd(), buffer.hostVirt(), piece, linux_h.MSG_DONTWAIT());
      if (result == -linux_h.EAGAIN()) {
        await(linux_h.POLLOUT(), "writing to the peer");
      } else if (result < 0 && result != -linux_h.EINTR()) {
        throw new IOException("writing to the peer failed: " + Errno.name((int) -result));
      } else {
        done += (int) Math.max(0, result);
      }
    }
  }

  /** Reads exactly so many bytes, none of what follows. */
  public byte[] read(int bytes) throws IOException {
    byte[] into = new byte[bytes];
    for (int done = 0; done < bytes; ) {
      long result = Sockets.receive(socket.fd(), buffer.hostVirt(), Math.min(BUFFER_BYTES, bytes - done), linux_h.MSG_DONTWAIT());
      if (result == -linux_h.EAGAIN()) {
        await(linux_h.POLLIN(), "waiting for the peer");
      } else if (result == 0) {
        throw new EOFException("the peer closed the connection during the handshake");
      } else if (result < 0 && result != -linux_h.EINTR()) {
        throw new IOException("reading from the peer failed: " + Errno.name((int) -result));
      } else if (result > 0) {
        Memory.copyTo(buffer.hostVirt(), into, done, (int) result);
        done += (int) result;
      }
    }
    return into;
  }

  /** Waits until there is something to read, without reading it. */
  void awaitReadable() throws IOException {
    await(linux_h.POLLIN(), "waiting for the peer");
  }

  private void await(int events, String what) throws IOException {
    int left = aborted ? 0 : millisLeft();
    int result = left == 0 ? 0 : Poll.once(socket.fd(), events, left);
    if (aborted) {
      throw new IOException(what + " was given up: this side ends");
    }
    if (result == 0) {
      throw new SocketTimeoutException(what + " took longer than allowed");
    }
    if (result < 0 && result != -linux_h.EINTR()) {
      throw new IOException(what + " failed: " + Errno.name(-result));
    }
  }

  /** Ends a wait of another thread in this socket's methods: from now on they fail. A descriptor that was given away is not touched. */
  synchronized void abort() {
    aborted = true;
    if (socket.isOpen()) {
      Sockets.shutdown(socket.fd(), linux_h.SHUT_RDWR());
    }
  }

  /** Gives the descriptor away. */
  public synchronized FileDescriptor release() {
    buffer.close();
    return FileDescriptor.adopt(socket.release());
  }

  @Override
  public synchronized void close() {
    socket.close();
    buffer.close();
  }
}
