package dev.dyad.engine.link.shm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.link.StagingRing;

/** What both ends of a shared ring have in common: the memory, the socket, sleeping and being woken. */
abstract class ShmEnd implements LinkEnd {
  /** While nobody sleeps, the socket is looked at only once in so many polls: it costs a system call and tells of nothing but the peer's end. */
  private static final int POLLS_PER_LOOK = 256;

  final FileDescriptor socket;
  final ShmHead head;
  private final StagingRing ring;
  private final Mapping scratch = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final long ownWaits;

  private int polls;
  private boolean waiting;
  private boolean closed;
  private String failure = "";

  /** Owns the socket from now on; the memory stays the caller's to close. */
  ShmEnd(FileDescriptor socket, int memory, ShmHead head, long ringBytes, long ownWaits) {
    this.socket = socket;
    this.head = head;
    this.ownWaits = ownWaits;
    socket.setNonBlocking(true);
    ring = new StagingRing(Mapping.mirrored(memory, ShmHead.BYTES, ringBytes));
  }

  /** Looks at the shared positions. @return amount of work done */
  abstract int look();

  /** Whether a look would find something. */
  abstract boolean hasWork();

  @Override
  public final StagingRing ring() {
    return ring;
  }

  @Override
  public final int poll() {
    if (!isUp()) {
      return 0;
    }
    String gone = "";
    if (waiting || ++polls >= POLLS_PER_LOOK) {
      gone = lookAtSocket();
    }
    int work = look(); // after the socket: what the peer left before it went is there by now
    if (!gone.isEmpty()) {
      fail(gone);
    }
    return work;
  }

  private String lookAtSocket() {
    polls = 0;
    if (waiting) {
      waiting = false;
      head.awake(ownWaits);
    }
    int result = ShmHead.takeBells(socket.fd(), scratch.hostVirt());
    if (result == 0) {
      return "";
    }
    return result == -linux_h.ENOTCONN() || result == -linux_h.ECONNRESET()
        ? "the peer closed the connection"
        : "receiving from the peer failed: " + Errno.name(-result);
  }

  @Override
  public final boolean prepareToWait() {
    if (!isUp()) {
      return false;
    }
    waiting = true;
    head.sleeps(ownWaits);
    return !hasWork();
  }

  final void fail(String why) {
    if (failure.isEmpty()) {
      failure = why;
    }
  }

  @Override
  public final boolean isUp() {
    return failure.isEmpty();
  }

  final boolean isOpen() {
    return !closed;
  }

  @Override
  public final String failure() {
    return failure;
  }

  @Override
  public final int pollFd() {
    return socket.fd();
  }

  @Override
  public final int pollEvents() {
    return linux_h.POLLIN();
  }

  @Override
  public final void close() {
    if (closed) {
      return;
    }
    closed = true;
    fail("closed");
    socket.close();
    ring.close();
    head.close();
    scratch.close();
  }
}
