package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Epoll;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.link.StagingRing;
import java.util.function.LongSupplier;

/**
 * What both ends over RDMA share: credits for the peer's receives, messages, and the ways to learn that the peer is gone.
 *
 * <p>Credits: a send that needs a receive is posted only when the peer has one, so that a receiver is never "not ready". Each side
 * tells how many it has posted again, at the latest when half of them are used. The last {@link #RESERVED} on queue pair 0 are for
 * those tellings, so that both sides cannot wait for each other.
 *
 * <p>The end of a link shows as: a failed send (the peer's NIC is silent for longer than all retries), the session's socket (its
 * process is gone), an asynchronous event (our port, our device), or silence (its thread stands still). Whichever comes first.
 *
 * <p>Thread: ship. Owns port, socket and ring.
 */
abstract class RdmaEnd implements LinkEnd {
  /** Receives of the peer's that only messages without content may use. */
  static final int RESERVED = 2;

  private static final long CHECK_NANOS = 1_000_000;
  private static final long LINGER_NANOS = 100_000_000;
  private static final int DRAINS_MAX = 1000;

  final RdmaPort port;
  final StagingRing ring;
  final int queuePairs;
  final int sendMask;

  /** Sends posted, finished, and posted since the last one that reports itself; for each queue pair. */
  final int[] posted;
  final int[] finished;

  private final int[] used;
  private final int[] peerTaken;
  private final int[] taken;
  private int toldTaken;
  private int takenSum;
  private final boolean[] givenBack;

  private final FileDescriptor socket;
  private final Mapping scratch = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final Epoll waits = new Epoll(4);
  private final Poll checks = new Poll(2);
  private final LongSupplier clock;
  private final long beatNanos;
  private final long silenceNanos;

  private long checkedAt;
  private long heardAt;
  private long spokeAt;
  private boolean heard;
  private boolean waiting;
  private boolean closed;
  private String flushed = "";
  private String failure = "";

  /**
   * @param socket the session's, silent from now on; owned
   * @param clock monotonic nanoseconds
   */
  RdmaEnd(RdmaPort port, StagingRing ring, FileDescriptor socket, RdmaConfig config, LongSupplier clock) {
    this.port = port;
    this.ring = ring;
    this.socket = socket;
    this.clock = clock;
    queuePairs = port.queuePairs();
    sendMask = port.sendDepth() - 1;
    posted = new int[queuePairs];
    finished = new int[queuePairs];
    used = new int[queuePairs];
    peerTaken = new int[queuePairs];
    taken = new int[queuePairs];
    givenBack = new boolean[queuePairs];
    beatNanos = config.beat().toNanos();
    silenceNanos = config.silence().toNanos();
    checkedAt = heardAt = spokeAt = clock.getAsLong();
    socket.setNonBlocking(true);
    checks.set(0, socket.fd(), linux_h.POLLIN());
    checks.set(1, port.eventFd(), linux_h.POLLIN());
    waits.add(socket.fd(), linux_h.EPOLLIN(), 0);
    waits.add(port.completionFd(), linux_h.EPOLLIN(), 0);
    if (port.eventFd() >= 0) {
      waits.add(port.eventFd(), linux_h.EPOLLIN(), 0);
    }
  }

  // ---- what the two ends do differently

  /** Posts what is to be sent. @return amount of work */
  abstract int transfer(int workBefore);

  /** The peer's bytes on {@code queuePair} are in place up to a position with these low 32 bits. */
  abstract void positionTold(int queuePair, int low);

  /** A message came. @return whether its slot is kept, to be given back later */
  abstract boolean messageArrived(long message, int slot);

  abstract long releasedToTell();

  // ---- the cycle

  @Override
  public final int poll() {
    if (!isUp()) {
      return 0;
    }
    long now = clock.getAsLong();
    boolean woken = waiting;
    if (woken) {
      waiting = false;
      port.disarm();
    }
    int work = takeCompletions();
    if (isUp() && flushed.isEmpty()) {
      work += transfer(work);
      tellTaken();
    }
    if (heard) {
      heard = false;
      heardAt = now;
    }
    if (isUp() && (woken || now - checkedAt >= CHECK_NANOS)) {
      check(now);
    }
    return work;
  }

  /** @return completions that mean something to the caller's caller */
  private int takeCompletions() {
    int count = port.poll();
    if (count < 0) {
      fail("the completion queue is broken");
      return 0;
    }
    int work = 0;
    for (int i = 0; i < count && isUp(); i++) {
      work += take(i);
    }
    if (!flushed.isEmpty() && count == 0) {
      fail(flushed);
    }
    if (flushed.isEmpty()) {
      postReceives();
    }
    return work;
  }

  private int take(int index) {
    int queuePair = port.queuePair(index);
    if (port.hasFailed(index)) {
      // When a queue pair fails, everything on it is reported as flushed; what says why may come after that.
      if (port.isFlushed(index)) {
        flushed = port.describe(index);
      } else {
        fail(port.describe(index));
      }
      return 1;
    }
    int number = port.number(index);
    if (!port.isReceive(index)) {
      finished[queuePair] = number + 1;
      return 0;
    }
    heard = true;
    if (port.isTold(index)) {
      positionTold(queuePair, port.told(index));
      giveBack(queuePair, number);
      return 1;
    }
    long message = port.incoming(number);
    for (int i = 0; i < queuePairs; i++) {
      peerTaken[i] = RdmaMessage.taken(message, i);
    }
    boolean said = RdmaMessage.hasControl(message) || RdmaMessage.released(message) != 0;
    if (!messageArrived(message, number)) {
      giveBack(queuePair, number);
    }
    return said ? 1 : 0;
  }

  /** A receive is free again; posted with the others at the end of the cycle. */
  final void giveBack(int queuePair, int slot) {
    port.giveBack(queuePair, slot);
    givenBack[queuePair] = true;
    taken[queuePair]++;
    takenSum++;
  }

  private void postReceives() {
    for (int i = 0; i < queuePairs; i++) {
      if (givenBack[i]) {
        givenBack[i] = false;
        int errno = port.postReceives(i);
        if (errno != 0) {
          fail("posting receives failed: " + Errno.name(errno));
        }
      }
    }
  }

  // ---- sending

  final boolean hasRoom(int queuePair, int sends) {
    return posted[queuePair] - finished[queuePair] + sends <= port.sendDepth();
  }

  /** Receives of the peer's that a message with content or a position may use. */
  final boolean hasCredit(int queuePair) {
    return credit(queuePair) > (queuePair == 0 ? RESERVED : 0);
  }

  private int credit(int queuePair) {
    return port.peerReceives() + peerTaken[queuePair] - used[queuePair];
  }

  final void useCredit(int queuePair) {
    used[queuePair]++;
    spokeAt = checkedAt;
  }

  /** Every so many sends one reports that it and all before it have finished. */
  final boolean reports(int count) {
    return (count & (sendMask >> 2)) == 0;
  }

  final void post(int queuePair) {
    int errno = port.post(queuePair);
    if (errno != 0) {
      fail("posting to queue pair " + queuePair + " failed: " + Errno.name(errno));
    }
  }

  /** Sends a message now. @param control its address, 0 for none @return false when there is no room or credit */
  final boolean message(long control, boolean wakes) {
    if (!hasRoom(0, 1) || (control == 0 ? credit(0) < 1 : !hasCredit(0))) {
      return false;
    }
    int count = posted[0]++;
    RdmaMessage.write(port.outgoing(count), releasedToTell(), taken, control);
    port.message(count, wakes);
    useCredit(0);
    toldTaken = takenSum;
    post(0);
    return true;
  }

  private void tellTaken() {
    if (takenSum - toldTaken >= port.peerReceives() / 2) {
      message(0, true);
    }
  }

  // ---- is the peer there?

  private void check(long now) {
    // A thread that did not run for long knows nothing of the peer's silence meanwhile.
    if (now - checkedAt > silenceNanos / 2) {
      heardAt = now;
    }
    checkedAt = now;
    // Behind sends that have not finished a beat would arrive no sooner than they do; and soft-RoCE starts its timer for sending them
    // again anew with every further send.
    if (beatNanos > 0 && now - spokeAt >= beatNanos && posted[0] == finished[0]) {
      message(0, false);
    }
    if (silenceNanos > 0 && now - heardAt > silenceNanos) {
      fail("nothing heard from the peer for " + (now - heardAt) / 1_000_000 + " ms");
    }
    if (checks.await(0) > 0) {
      if (checks.ready(0) != 0) {
        checkSocket();
      }
      String event = checks.ready(1) == 0 ? "" : port.event();
      if (!event.isEmpty()) {
        fail(event);
      }
    }
  }

  private void checkSocket() {
    long result = Sockets.receive(socket.fd(), scratch.hostVirt(), 1, linux_h.MSG_DONTWAIT());
    if (result == -linux_h.EAGAIN() || result == -linux_h.EINTR()) {
      return;
    }
    // What the peer sent before it went is there already, or never comes.
    for (int i = 0; i < DRAINS_MAX && takeCompletions() > 0; i++) {}
    fail(result == 0 ? "the peer closed the connection" : result > 0 ? "the peer wrote to the session's socket" : "the session's socket: " + Errno.name((int) -result));
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

  final boolean isClosed() {
    return closed;
  }

  @Override
  public final String failure() {
    return failure;
  }

  @Override
  public final StagingRing ring() {
    return ring;
  }

  // ---- waiting

  @Override
  public final boolean prepareToWait() {
    if (!isUp()) {
      return false;
    }
    waiting = true;
    port.arm(waitsForSends());
    return takeCompletions() == 0 && isUp();
  }

  /** Whether something is held back until earlier sends have finished. */
  abstract boolean waitsForSends();

  @Override
  public final int pollFd() {
    return closed ? -1 : waits.fd();
  }

  @Override
  public final int pollEvents() {
    return linux_h.POLLIN();
  }

  /** Gives what was posted a short time to arrive, then frees everything. */
  @Override
  public final void close() {
    if (closed) {
      return;
    }
    linger();
    closed = true;
    fail("closed");
    port.close();
    waits.close();
    checks.close();
    socket.close();
    ring.close();
    scratch.close();
  }

  private void linger() {
    long start = System.nanoTime();
    while (isUp() && hasUnfinished() && System.nanoTime() - start < LINGER_NANOS) {
      takeCompletions();
    }
  }

  private boolean hasUnfinished() {
    for (int i = 0; i < queuePairs; i++) {
      if (posted[i] != finished[i]) {
        return true;
      }
    }
    return false;
  }
}
