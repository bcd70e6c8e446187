package dev.dyad.engine.link.tcp;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.abi.wire.dyad_tcp_back;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.StagingRing;

/**
 * The receiving end over a stream socket, see {@link TcpReplicationLink}: bytes are received where they belong in the ring, never more than
 * it has room for.
 *
 * <p>Thread: the standby's ship thread. Owns socket, ring and buffer.
 */
public final class TcpReplicaLink implements ReplicaLink {
  private static final int BACK_BYTES = (int) dyad_tcp_back.sizeof();
  private static final long CONTROL_AT = dyad_tcp_back.control$offset();
  private static final int OUT_BYTES = 64 * BACK_BYTES;

  /** A position is told when it moved by this part of the ring, or when nothing arrives. */
  private static final int TELL_PART = 16;

  /** Bytes that one poll receives at most, so that they are looked at while they are in the cache. */
  private static final long RECEIVE_BYTES_MAX = 1 << 20;

  private final FileDescriptor socket;
  private final StagingRing ring;
  private final Mapping buffer = Mapping.anonymous(OUT_BYTES);
  private final long out = buffer.hostVirt();

  private long received;
  private long released;
  private long told;
  private int outBytes;
  private boolean closed;
  private String failure = "";

  /**
   * @param connected a stream socket after the handshake; owned from now on
   * @param ringBytes a power of two, as agreed with the peer
   */
  public TcpReplicaLink(FileDescriptor connected, long ringBytes) {
    socket = connected;
    connected.setNonBlocking(true);
    ring = new StagingRing(ringBytes);
  }

  @Override
  public StagingRing ring() {
    return ring;
  }

  @Override
  public long received() {
    return received;
  }

  @Override
  public void release(long position) {
    released = position;
  }

  @Override
  public int poll() {
    if (!isUp()) {
      return 0;
    }
    int work = receive();
    long untold = released - told;
    if (untold >= ring.capacityBytes() / TELL_PART || (untold > 0 && work == 0)) {
      tell(0);
    }
    return work + send();
  }

  private int receive() {
    long room = Math.min(released + ring.capacityBytes() - received, RECEIVE_BYTES_MAX);
    if (room == 0) {
      return 0;
    }
    long result = Sockets.receive(socket.fd(), ring.address(received), room, linux_h.MSG_DONTWAIT());
    if (result > 0) {
      received += result;
      return 1;
    }
    if (result != -linux_h.EAGAIN() && result != -linux_h.EINTR()) {
      fail(result == 0 ? "the peer closed the connection" : "receiving from the peer failed: " + Errno.name((int) -result));
    }
    return 0;
  }

  /** Puts a record into the buffer. @return false when that is full */
  private boolean tell(long control) {
    if (OUT_BYTES - outBytes < BACK_BYTES) {
      return false;
    }
    Memory.putLong(out + outBytes, released);
    if (control == 0) {
      Memory.zero(out + outBytes + CONTROL_AT, CONTROL_BYTES);
    } else {
      Memory.copy(control, out + outBytes + CONTROL_AT, CONTROL_BYTES);
    }
    told = released;
    outBytes += BACK_BYTES;
    return true;
  }

  private int send() {
    if (outBytes == 0) {
      return 0;
    }
    long result = Sockets.send(socket.fd(), out, outBytes, linux_h.MSG_DONTWAIT());
    if (result > 0) {
      outBytes -= (int) result;
      Memory.copy(out + result, out, outBytes);
      return 1;
    }
    // A broken pipe comes before the end of what was received: only receiving says that the link is down.
    if (result == -linux_h.EPIPE() || result == -linux_h.ECONNRESET()) {
      outBytes = 0;
    }
    return 0;
  }

  @Override
  public boolean sendControl(long source) {
    if (!isUp() || !tell(source)) {
      return false;
    }
    send();
    return true;
  }

  /** Only {@link #poll} writes to the ring, and it does nothing any more. */
  @Override
  public void fence() {
    fail("fenced: nothing more is received");
  }

  private void fail(String why) {
    if (failure.isEmpty()) {
      failure = why;
    }
  }

  @Override
  public boolean isUp() {
    return failure.isEmpty();
  }

  @Override
  public String failure() {
    return failure;
  }

  @Override
  public long activity() {
    return received;
  }

  @Override
  public boolean prepareToWait() {
    return isUp();
  }

  @Override
  public int pollFd() {
    return socket.fd();
  }

  @Override
  public int pollEvents() {
    boolean room = received < released + ring.capacityBytes();
    return (room ? linux_h.POLLIN() : 0) | (outBytes > 0 ? linux_h.POLLOUT() : 0);
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    fail("closed");
    Sockets.shutdown(socket.fd(), linux_h.SHUT_WR());
    drain();
    socket.close();
    ring.close();
    buffer.close();
  }

  /** A close with unread bytes would reset the connection, and the last control message might not be read. */
  private void drain() {
    long bytes = ring.capacityBytes();
    for (int i = 0; i < TELL_PART && Sockets.receive(socket.fd(), ring.address(0), bytes, linux_h.MSG_DONTWAIT()) > 0; i++) {}
  }
}
