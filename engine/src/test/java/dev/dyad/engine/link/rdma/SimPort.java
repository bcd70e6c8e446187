package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.StagingRing;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.Random;

/**
 * A provider in memory, two ports of which are joined: delays, interleaves queue pairs and scatters a write's bytes in any order, all by
 * one seed, but keeps the promise of a reliable connection. With {@code breaksOrder} it does not: a told position may overtake the bytes
 * before it.
 */
final class SimPort implements RdmaPort {
  private static final int SLOT_BYTES = 128;
  private static final int PIECE_BYTES = 64;
  private static final int COMPLETIONS_PER_POLL = 16;

  private record Send(boolean isMessage, long position, int bytes, boolean tells, int told, int count, boolean reports, boolean wakes) {}

  private record Completion(int queuePair, int number, boolean isReceive, boolean isTold, int told, String failure, boolean wakes) {}

  private final Random random;
  private final StagingRing ring;
  private final int queuePairs;
  private final int depth;
  private final int receives;
  private final int stripeBytes;
  private final boolean breaksOrder;
  private final Mapping messages;
  private final EventFd bell = new EventFd();
  private final EventFd events = new EventFd();

  private final List<Deque<Send>> filled = new ArrayList<>();
  private final List<Deque<Send>> travelling = new ArrayList<>();
  private final List<Deque<Integer>> givenBack = new ArrayList<>();
  private final List<Deque<Integer>> ready = new ArrayList<>();
  private final Deque<Completion> completions = new ArrayDeque<>();
  private final List<Completion> current = new ArrayList<>();

  private SimPort peer = this;
  private Object lock = this; // both ports' state, when their links belong to two threads
  private boolean armed;
  private boolean armedForAll;
  private boolean revoked;
  private boolean closed;
  private boolean isLossy;
  private String event = "";
  int receiverNotReady;

  SimPort(long seed, StagingRing ring, RdmaConfig config, boolean breaksOrder) {
    random = new Random(seed);
    this.ring = ring;
    this.breaksOrder = breaksOrder;
    queuePairs = config.queuePairs();
    depth = config.sendDepth();
    receives = config.receives();
    stripeBytes = config.stripeBytes();
    messages = Mapping.anonymous((long) (receives + depth) * SLOT_BYTES);
    for (int i = 0; i < queuePairs; i++) {
      filled.add(new ArrayDeque<>());
      travelling.add(new ArrayDeque<>());
      givenBack.add(new ArrayDeque<>());
      ready.add(new ArrayDeque<>());
      for (int slot = 0; slot < receives; slot++) {
        ready.get(i).add(slot);
      }
    }
  }

  static void join(SimPort one, SimPort other) {
    one.peer = other;
    other.peer = one;
    other.lock = one.lock;
  }

  /** Everything that both sides posted happens now. */
  void letArrive() {
    synchronized (lock) {
      settle();
    }
  }

  /** Something happens to the port. */
  void happen(String what) {
    event = what;
    events.signal();
  }

  /** From now on nothing of this side's arrives, and nobody is told. */
  void cut() {
    isLossy = true;
  }

  @Override
  public int queuePairs() {
    return queuePairs;
  }

  @Override
  public int sendDepth() {
    return depth;
  }

  @Override
  public int peerReceives() {
    return receives;
  }

  @Override
  public int stripeBytes() {
    return stripeBytes;
  }

  @Override
  public void write(int queuePair, long position, int bytes, int count, boolean signalled) {
    fill(queuePair, new Send(false, position, bytes, false, 0, count, signalled, false));
  }

  @Override
  public void writeAndTell(int queuePair, long position, int bytes, int told, int count) {
    fill(queuePair, new Send(false, position, bytes, true, told, count, true, true));
  }

  private void fill(int queuePair, Send send) {
    long offset = send.position & (ring.capacityBytes() - 1);
    if (!send.isMessage && (send.bytes <= 0 || offset + send.bytes > ring.capacityBytes())) {
      throw new AssertionError("a piece of " + send.bytes + " bytes at " + send.position + " leaves the region");
    }
    filled.get(queuePair).add(send);
  }

  @Override
  public long outgoing(int count) {
    return messages.hostVirt() + (long) (receives + (count & (depth - 1))) * SLOT_BYTES;
  }

  @Override
  public void message(int count, boolean wakes) {
    fill(0, new Send(true, 0, RdmaMessage.BYTES, false, 0, count, true, wakes));
  }

  @Override
  public int post(int queuePair) {
    synchronized (lock) {
      travelling.get(queuePair).addAll(filled.get(queuePair));
      filled.get(queuePair).clear();
      if (travelling.get(queuePair).size() > depth) {
        throw new AssertionError("more than " + depth + " sends under way");
      }
      if (armed || peer.armed) {
        settle();
      }
      return 0;
    }
  }

  @Override
  public long incoming(int slot) {
    return messages.hostVirt() + (long) slot * SLOT_BYTES;
  }

  @Override
  public void giveBack(int queuePair, int slot) {
    givenBack.get(queuePair).add(slot);
  }

  @Override
  public int postReceives(int queuePair) {
    synchronized (lock) {
      ready.get(queuePair).addAll(givenBack.get(queuePair));
      givenBack.get(queuePair).clear();
      return 0;
    }
  }

  /** Lets some of what both sides posted happen. */
  private void step() {
    for (SimPort port : List.of(this, peer)) {
      for (int i = 0; i < queuePairs && !port.closed; i++) {
        for (int n = random.nextInt(4); n > 0 && !port.travelling.get(i).isEmpty(); n--) {
          port.execute(i, port.travelling.get(i).element());
        }
      }
    }
  }

  /** Somebody sleeps and steps no more: everything happens that can. */
  private void settle() {
    for (SimPort port : List.of(this, peer)) {
      for (int i = 0; i < queuePairs && !port.closed; i++) {
        for (int left = -1; !port.travelling.get(i).isEmpty() && left != port.travelling.get(i).size(); ) {
          left = port.travelling.get(i).size();
          port.execute(i, port.travelling.get(i).element());
        }
      }
    }
  }

  private void execute(int queuePair, Send send) {
    if (isLossy) {
      return;
    }
    if (peer.closed) {
      travelling.get(queuePair).clear();
      completions.add(new Completion(queuePair, send.count, false, false, 0, "retries exceeded", true));
      ring();
      return;
    }
    if (!send.isMessage && peer.revoked) {
      travelling.get(queuePair).clear();
      completions.add(new Completion(queuePair, send.count, false, false, 0, "remote access error", true));
      ring();
      return;
    }
    Deque<Integer> peerReady = peer.ready.get(queuePair);
    if ((send.isMessage || send.tells) && peerReady.isEmpty()) {
      receiverNotReady++;
      return;
    }
    travelling.get(queuePair).remove();
    if (send.isMessage) {
      int slot = peerReady.remove();
      Memory.copy(outgoing(send.count), peer.incoming(slot), RdmaMessage.BYTES);
      peer.complete(new Completion(queuePair, slot, true, false, 0, "", send.wakes));
    } else {
      if (breaksOrder && send.tells && random.nextInt(4) == 0) {
        peer.complete(new Completion(queuePair, peerReady.remove(), true, true, send.told, "", true));
        scatter(send, random.nextBoolean());
      } else {
        scatter(send, false);
        if (send.tells) {
          peer.complete(new Completion(queuePair, peerReady.remove(), true, true, send.told, "", true));
        }
      }
    }
    if (send.reports) {
      complete(new Completion(queuePair, send.count, false, false, 0, "", false));
    }
  }

  private void scatter(Send send, boolean losesPart) {
    List<Integer> pieces = new ArrayList<>();
    for (int at = 0; at < send.bytes; at += PIECE_BYTES) {
      pieces.add(at);
    }
    Collections.shuffle(pieces, random);
    for (int i = losesPart ? pieces.size() / 2 + 1 : 0; i < pieces.size(); i++) {
      int at = pieces.get(i);
      Memory.copy(ring.address(send.position + at), peer.ring.address(send.position + at), Math.min(PIECE_BYTES, send.bytes - at));
    }
  }

  private void complete(Completion completion) {
    completions.add(completion);
    if (armed && (armedForAll || completion.wakes)) {
      ring();
    }
  }

  private void ring() {
    if (armed) {
      armed = false;
      bell.signal();
    }
  }

  @Override
  public int poll() {
    synchronized (lock) {
      step();
      current.clear();
      while (!completions.isEmpty() && current.size() < COMPLETIONS_PER_POLL) {
        current.add(completions.remove());
      }
      return current.size();
    }
  }

  @Override
  public boolean hasFailed(int index) {
    return !current.get(index).failure.isEmpty();
  }

  @Override
  public boolean isFlushed(int index) {
    return false;
  }

  @Override
  public String describe(int index) {
    return current.get(index).failure;
  }

  @Override
  public boolean isReceive(int index) {
    return current.get(index).isReceive;
  }

  @Override
  public int queuePair(int index) {
    return current.get(index).queuePair;
  }

  @Override
  public int number(int index) {
    return current.get(index).number;
  }

  @Override
  public boolean isTold(int index) {
    return current.get(index).isTold;
  }

  @Override
  public int told(int index) {
    return current.get(index).told;
  }

  @Override
  public int completionFd() {
    return bell.fd();
  }

  @Override
  public void arm(boolean also) {
    synchronized (lock) {
      armed = true;
      armedForAll = also;
      settle();
    }
  }

  @Override
  public void disarm() {
    bell.drain();
  }

  @Override
  public int eventFd() {
    return events.fd();
  }

  @Override
  public String event() {
    events.drain();
    return event;
  }

  @Override
  public String revoke() {
    synchronized (lock) {
      revoked = true;
    }
    return "simulated";
  }

  @Override
  public void close() {
    synchronized (lock) {
      closed = true;
    }
    bell.close();
    events.close();
    messages.close();
  }
}
