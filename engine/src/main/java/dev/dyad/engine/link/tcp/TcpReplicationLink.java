package dev.dyad.engine.link.tcp;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.abi.wire.dyad_tcp_back;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.StagingRing;

/**
 * The sending end over a stream socket: the ring's bytes go out as they stand, in as large pieces as the socket takes. Back come records of
 * fixed size ({@code dyad_tcp_back}): what the peer has let go of, and perhaps a control message.
 *
 * <p>Thread: ship. Owns socket, ring and buffers.
 */
public final class TcpReplicationLink implements ReplicationLink {
  /** Largest piece of one send(2), so that what came back is looked at in between. */
  private static final long SEND_BYTES_MAX = 1 << 20;

  private static final int BACK_BYTES = (int) dyad_tcp_back.sizeof();
  private static final long CONTROL_AT = dyad_tcp_back.control$offset();
  private static final int IN_BYTES = 64 * BACK_BYTES;
  private static final int CONTROL_SLOTS = 64;

  private final FileDescriptor socket;
  private final StagingRing ring;
  private final Mapping buffers = Mapping.anonymous(IN_BYTES + CONTROL_SLOTS * CONTROL_BYTES);
  private final long in = buffers.hostVirt();
  private final long controls = in + IN_BYTES;

  private long published;
  private long sent;
  private long released;
  private int inBytes;
  private long controlsArrived;
  private long controlsTaken;
  private long receivedBytes;
  private boolean closed;
  private String failure = "";

  /**
   * @param connected a stream socket after the handshake; owned from now on
   * @param ringBytes a power of two, as agreed with the peer
   */
  public TcpReplicationLink(FileDescriptor connected, long ringBytes) {
    socket = connected;
    connected.setNonBlocking(true);
    ring = new StagingRing(ringBytes);
  }

  @Override
  public StagingRing ring() {
    return ring;
  }

  @Override
  public long released() {
    return released;
  }

  @Override
  public void publish(long position) {
    published = position;
  }

  @Override
  public int poll() {
    if (!isUp()) {
      return 0;
    }
    int result = send();
    int work = receive();
    if (result < 0 && isUp()) {
      fail("sending to the peer failed: " + Errno.name(-result));
    }
    return Math.max(result, 0) + work;
  }

  /** Sends until the socket is full. @return pieces sent, or −errno */
  private int send() {
    int pieces = 0;
    while (sent < published) {
      long bytes = Math.min(published - sent, SEND_BYTES_MAX);
      long result = Sockets.send(socket.fd(), ring.address(sent), bytes, linux_h.MSG_DONTWAIT());
      if (result < 0) {
        return result == -linux_h.EAGAIN() || result == -linux_h.EINTR() ? pieces : (int) result;
      }
      sent += result;
      pieces++;
      if (result < bytes) {
        return pieces;
      }
    }
    return pieces;
  }

  /** Takes what came back as long as there is room for control messages. @return records taken */
  private int receive() {
    int records = takeRecords();
    while (inBytes < BACK_BYTES && isUp()) {
      long result = Sockets.receive(socket.fd(), in + inBytes, IN_BYTES - inBytes, linux_h.MSG_DONTWAIT());
      if (result == -linux_h.EAGAIN() || result == -linux_h.EINTR()) {
        return records;
      }
      if (result <= 0) {
        fail(result == 0 ? "the peer closed the connection" : "receiving from the peer failed: " + Errno.name((int) -result));
        return records;
      }
      receivedBytes += result;
      inBytes += (int) result;
      records += takeRecords();
    }
    return records;
  }

  private int takeRecords() {
    int at = 0;
    int records = 0;
    while (inBytes - at >= BACK_BYTES && controlsArrived - controlsTaken < CONTROL_SLOTS && take(in + at)) {
      at += BACK_BYTES;
      records++;
    }
    if (at > 0) {
      inBytes -= at;
      Memory.copy(in + at, in, inBytes);
    }
    return records;
  }

  private boolean take(long record) {
    long position = Memory.getLong(record);
    if (position < released || position > sent) {
      fail("the peer let go of position " + position + ", possible are " + released + " to " + sent);
      return false;
    }
    released = position;
    if (Memory.getInt(record + CONTROL_AT) != 0) {
      Memory.copy(record + CONTROL_AT, slot(controlsArrived), CONTROL_BYTES);
      controlsArrived++;
    }
    return true;
  }

  private long slot(long count) {
    return controls + (count % CONTROL_SLOTS) * CONTROL_BYTES;
  }

  @Override
  public boolean receiveControl(long destination) {
    if (closed || controlsTaken == controlsArrived) {
      return false;
    }
    Memory.copy(slot(controlsTaken), destination, CONTROL_BYTES);
    controlsTaken++;
    return true;
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
    return receivedBytes;
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
    return linux_h.POLLIN() | (sent < published ? linux_h.POLLOUT() : 0);
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    fail("closed");
    Sockets.shutdown(socket.fd(), linux_h.SHUT_WR());
    socket.close();
    ring.close();
    buffers.close();
  }
}
