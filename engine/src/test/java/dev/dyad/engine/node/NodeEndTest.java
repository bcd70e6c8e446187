package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.Channel;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.LinkMaker;
import dev.dyad.engine.link.Offer;
import dev.dyad.engine.link.PeerCaller;
import dev.dyad.engine.link.PeerListener;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.Role;
import dev.dyad.engine.link.Session;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a node has left open when it ends: nothing, and its peer knows at once. */
@Timeout(120)
class NodeEndTest extends NodePairFixture {
  private static final EpochConfig EPOCHS = EpochConfig.of(2_000_000L, BOUND);
  private static final long RING = 1 << 20;
  private static final Duration CALL = Duration.ofSeconds(20);

  /** Half of what a call may take by itself. */
  private static final Duration SOON = Duration.ofSeconds(10);

  @ParameterizedTest
  @ValueSource(strings = {"tcp", "shm"})
  void shouldEndALinkThatReachesAStandbyWhoseLoopHasEnded(String kind) throws Exception {
    standby = startStandby(at(kind), EPOCHS);
    assertTrue(standbyNode().stop(Duration.ofSeconds(10)));

    try (PeerCaller caller = new PeerCaller(null, CALL); ReplicationLink link = caller.call(standbyNode().address(), offer(), links()::sendingEnd)) {
      awaitEnd(link);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"tcp", "shm"})
  void shouldEndALinkThatComesAboutWhenThePrimarysLoopHasEnded(String kind) throws Exception {
    CountDownLatch called = new CountDownLatch(1);
    CountDownLatch ended = new CountDownLatch(1);
    BlockingQueue<ReplicaLink> made = new LinkedBlockingQueue<>();
    try (PeerListener listener =
        new PeerListener(at(kind), Role.STANDBY, RING, null, CALL, offer -> holdUp(called, ended), session -> made.add(receiving(session)))) {
      startPrimary(listener.address(), EPOCHS, 20_000, 0);
      called.await();
      node().kill();
      ended.countDown();
      try (ReplicaLink link = made.take()) {
        awaitEnd(link);
      }
    }
  }

  @Test
  void shouldGiveUpACallUnderWayWhenThePrimaryIsClosed() throws Exception {
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet("127.0.0.1", 0), 4)) {
      startPrimary(Sockets.localAddress(listener.fd()), EPOCHS, 20_000, 0);
      try (PeerSocket called = new PeerSocket(FileDescriptor.adopt(Sockets.accept(listener.fd(), 0)), SOON)) {
        called.read(64); // of its HELLO, which nobody answers
        node().kill();
        endPrimary();
        assertThrows(EOFException.class, () -> readToEnd(called), "the call was not given up");
      }
    }
  }

  @Test
  void shouldGiveUpALinkThatWaitsForItsPeerWhenTheListenerIsClosed() throws Exception {
    CountDownLatch called = new CountDownLatch(1);
    PeerListener listener =
        new PeerListener(
            at("tcp"),
            Role.STANDBY,
            RING,
            null,
            CALL,
            offer -> {},
            session -> {
              called.countDown();
              // Both say first what they can: this one waits for a peer that says nothing.
              assertThrows(IOException.class, () -> links().receivingEnd(session));
            });
    Thread closing = new Thread(listener::close);
    try (PeerCaller caller = new PeerCaller(null, CALL); ReplicaLink silent = caller.call(listener.address(), offer(), Session::receivingEnd)) {
      called.await();
      closing.start();
      awaitEnd(silent);
    } finally {
      closing.join();
    }
  }

  private static Offer offer() {
    return new Offer(Role.PRIMARY, Channel.MEMORY, 1, RING, 1 << 20, new byte[32]);
  }

  private static LinkMaker links() {
    return new LinkMaker(LinkConfig.standard());
  }

  private static ReplicaLink receiving(Session session) {
    try {
      return links().receivingEnd(session);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Has the caller wait until the loop has ended. */
  private static void holdUp(CountDownLatch called, CountDownLatch ended) {
    called.countDown();
    try {
      ended.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void awaitEnd(LinkEnd link) throws InterruptedException {
    long giveUpAt = System.nanoTime() + SOON.toNanos();
    while (link.isUp()) {
      link.poll();
      assertTrue(System.nanoTime() < giveUpAt, "nobody has ended the link");
      Thread.sleep(5);
    }
  }

  private static void readToEnd(PeerSocket peer) throws IOException {
    while (peer.read(1).length > 0) {}
  }
}
