package dev.dyad.engine.link;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class HandshakeTest {
  private static final Duration TIMEOUT = Duration.ofSeconds(20);
  private static final long RING = 1 << 17;
  private static final Handshake.Admission EVERYBODY = offer -> {};

  @TempDir Path directory = Path.of("");
  private @Nullable SharedKey key;
  private @Nullable SharedKey otherKey;

  @BeforeEach
  void makeKeys() throws IOException {
    SharedKey.create(directory.resolve("key"));
    SharedKey.create(directory.resolve("other"));
    key = SharedKey.read(directory.resolve("key"));
    otherKey = SharedKey.read(directory.resolve("other"));
  }

  private static Offer offer(long generation, long ringBytes) {
    byte[] digest = new byte[32];
    digest[3] = 9;
    return new Offer(Role.PRIMARY, Channel.MEMORY, generation, ringBytes, 1 << 20, digest);
  }

  @Test
  void shouldAgreeOnGenerationAndTheSmallerRing() throws Exception {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    CompletableFuture<Session> answer = answering(ends[1], key, EVERYBODY);
    try (Session caller = Handshake.call(new PeerSocket(ends[0], TIMEOUT), offer(7, 4 * RING), key);
        Session listener = answer.get()) {
      assertEquals(RING, caller.ringBytes());
      assertEquals(RING, listener.ringBytes());
      assertEquals(7, listener.offer().generation());
      assertEquals(1 << 20, listener.offer().memoryBytes());
      assertArrayEquals(caller.offer().memoryDigest(), listener.offer().memoryDigest());
    }
  }

  @Test
  void shouldRefuseAnotherKeyOnBothSides() {
    assertBothRefuse(key, otherKey, Reason.PROOF);
  }

  @Test
  void shouldRefuseAPeerWithoutAKeyAndOneWithATooWellGuardedOne() {
    assertBothRefuse(null, key, Reason.KEY_NEEDED);
    assertBothRefuse(key, null, Reason.KEY_NEEDED);
  }

  private void assertBothRefuse(@Nullable SharedKey callers, @Nullable SharedKey listeners, Reason reason) {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    CompletableFuture<Session> answer = answering(ends[1], listeners, EVERYBODY);
    RefusedException told = assertThrows(RefusedException.class, () -> Handshake.call(new PeerSocket(ends[0], TIMEOUT), offer(1, RING), callers));
    assertEquals(reason.code(), told.code());
    Exception found = assertThrows(Exception.class, answer::get);
    // The caller may have seen it first and gone.
    assertTrue(found.getCause() instanceof RefusedException || found.getCause() instanceof IOException, found.toString());
  }

  @Test
  void shouldNotBelieveAListenerThatOnlyEchoesOurProof() throws Exception {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    CompletableFuture<Void> impostor =
        CompletableFuture.runAsync(
            () -> {
              try (PeerSocket peer = new PeerSocket(ends[1], TIMEOUT)) {
                HandshakeFrame.read(peer, FrameType.HELLO, 96);
                byte[] challenge = new byte[48];
                ByteBuffer.wrap(challenge).order(ByteOrder.LITTLE_ENDIAN).putLong(32, RING).putShort(40, (short) 2).putShort(42, (short) 1);
                peer.write(HandshakeFrame.encode(FrameType.CHALLENGE, 1, challenge));
                HandshakeFrame proof = HandshakeFrame.read(peer, FrameType.PROOF, 32);
                peer.write(HandshakeFrame.encode(FrameType.ACCEPT, 1, proof.payload().array()));
              } catch (IOException | RefusedException e) {
                throw new IllegalStateException(e);
              }
            });
    RefusedException refused = assertThrows(RefusedException.class, () -> Handshake.call(new PeerSocket(ends[0], TIMEOUT), offer(1, RING), key));
    assertEquals(Reason.PROOF.code(), refused.code());
    impostor.get();
  }

  @Test
  void shouldNameBothVersions() {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    CompletableFuture<Session> answer = answering(ends[1], key, EVERYBODY);
    byte[] hello = HandshakeFrame.encode(FrameType.HELLO, 1, new byte[96]);
    hello[8] = 77;
    try (PeerSocket peer = new PeerSocket(ends[0], TIMEOUT)) {
      peer.write(hello);
      RefusedException told = assertThrows(RefusedException.class, () -> HandshakeFrame.read(peer, FrameType.CHALLENGE, 48));
      assertEquals(
          "the peer refused: the peer speaks wire version 77, this side version 1: run the same release of Dyad on both hosts", told.getMessage());
      assertThrows(IOException.class, () -> peer.read(1), "and disconnects");
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    assertInstanceOf(RefusedException.class, assertThrows(Exception.class, answer::get).getCause());
  }

  @Test
  void shouldRefuseWhomTheAdmissionDoesNotWant() {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    answering(
        ends[1],
        key,
        offer -> {
          throw new RefusedException(Reason.GENERATION, offer.generation(), 9);
        });
    RefusedException told = assertThrows(RefusedException.class, () -> Handshake.call(new PeerSocket(ends[0], TIMEOUT), offer(4, RING), key));
    assertEquals("the peer refused: a frame of generation 4 came in generation 9", told.getMessage());
  }

  @Test
  void shouldGiveUpOnASilentPeer() {
    FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
    try (FileDescriptor silent = ends[1]) {
      assertTrue(silent.isOpen());
      assertThrows(
          SocketTimeoutException.class,
          () -> Handshake.answer(new PeerSocket(ends[0], Duration.ofMillis(50)), Role.STANDBY, RING, key, EVERYBODY));
      assertEquals(-1, ends[0].fd(), "the connection is closed");
    }
  }

  @Test
  void shouldEndInADefinedWayWhateverIsSent() throws Exception {
    SplittableRandom random = new SplittableRandom(42);
    byte[] hello = HandshakeFrame.encode(FrameType.HELLO, 1, new byte[96]);
    for (int i = 0; i < 400; i++) {
      byte[] bytes = hello.clone();
      for (int flips = random.nextInt(1, 4); flips > 0; flips--) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
      }
      int length = random.nextInt(4) == 0 ? random.nextInt(bytes.length) : bytes.length;
      FileDescriptor[] ends = Sockets.pair(linux_h.SOCK_STREAM());
      PeerSocket sender = new PeerSocket(ends[0], TIMEOUT);
      sender.write(Arrays.copyOf(bytes, length));
      Sockets.shutdown(sender.fd(), linux_h.SHUT_WR());
      Exception end =
          assertThrows(Exception.class, () -> Handshake.answer(new PeerSocket(ends[1], TIMEOUT), Role.STANDBY, RING, key, EVERYBODY));
      assertTrue(end instanceof RefusedException || end instanceof IOException, end.toString());
      sender.close();
    }
  }

  // ---- the listener

  @Test
  void shouldGreetWhileOthersKeepSilentAndRefuseWhoIsTooMany() throws Exception {
    BlockingQueue<Session> sessions = new LinkedBlockingQueue<>();
    List<PeerSocket> silent = new ArrayList<>();
    try (PeerListener listener = listener(SocketAddress.inet("127.0.0.1", 0), key, sessions)) {
      for (int i = 0; i < 7; i++) {
        silent.add(PeerSocket.connect(listener.address(), TIMEOUT));
      }
      try (Session caller = Handshake.call(PeerSocket.connect(listener.address(), TIMEOUT), offer(1, RING), key);
          Session listeners = sessions.take()) {
        assertEquals(caller.ringBytes(), listeners.ringBytes());
      }
      while (true) {
        silent.add(PeerSocket.connect(listener.address(), TIMEOUT));
        PeerSocket last = silent.getLast();
        if (silent.size() > 8) {
          RefusedException told = assertThrows(RefusedException.class, () -> HandshakeFrame.read(last, FrameType.CHALLENGE, 48));
          assertEquals(Reason.BUSY.code(), told.code());
          break;
        }
      }
    } finally {
      silent.forEach(PeerSocket::close);
    }
  }

  @Test
  void shouldBringUpALinkOverTcpAndOverAUnixSocket() throws Exception {
    for (SocketAddress at : List.of(SocketAddress.inet("127.0.0.1", 0), SocketAddress.unix(directory.resolve("s").toString()))) {
      BlockingQueue<Session> sessions = new LinkedBlockingQueue<>();
      try (PeerListener listener = listener(at, at.isInet() ? key : null, sessions);
          Session caller = Handshake.call(PeerSocket.connect(listener.address(), TIMEOUT), offer(1, RING), at.isInet() ? key : null);
          Session answered = sessions.take();
          ReplicaLink receiver = answered.receivingEnd();
          ReplicationLink sender = caller.sendingEnd()) {
        Memory.putLong(sender.ring().address(0), 4711);
        sender.publish(8);
        while (receiver.received() < 8) {
          sender.poll();
          receiver.poll();
        }
        assertEquals(4711, Memory.getLong(receiver.ring().address(0)));
      }
    }
  }

  @Test
  void shouldTakeOverASocketFileThatAKilledProcessLeftBehind() throws Exception {
    SocketAddress at = SocketAddress.unix(directory.resolve("left").toString());
    Sockets.bind(at, linux_h.SOCK_STREAM()).close();
    assertTrue(Files.exists(directory.resolve("left")));
    try (PeerListener listener = listener(at, null, new LinkedBlockingQueue<>())) {
      PeerSocket.connect(listener.address(), TIMEOUT).close();
    }
    assertTrue(Files.notExists(directory.resolve("left")));
  }

  @Test
  void shouldCloseWithHandshakesUnderWay() throws Exception {
    PeerListener listener = listener(SocketAddress.inet("127.0.0.1", 0), key, new LinkedBlockingQueue<>());
    try (PeerSocket silent = PeerSocket.connect(listener.address(), TIMEOUT)) {
      silent.write(new byte[1]);
      Thread.sleep(50);
      long before = System.nanoTime();
      listener.close();
      assertTrue(TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - before) < TIMEOUT.toSeconds() / 2, "did not wait for the silent peer's time-out");
      assertThrows(IOException.class, () -> silent.read(FrameHeader.BYTES));
    }
  }

  @Test
  void shouldSayWhereNobodyListens() {
    IOException e = assertThrows(IOException.class, () -> PeerSocket.connect(SocketAddress.inet("127.0.0.1", 1), TIMEOUT));
    assertEquals("connecting to 127.0.0.1:1 failed: ECONNREFUSED; is a standby listening there?", e.getMessage());
  }

  @Test
  void shouldListenWithoutAKeyOnLoopbackOnly() {
    ListenPolicy.check(SocketAddress.inet("127.0.0.1", 7400), false);
    ListenPolicy.check(SocketAddress.inet("::1", 7400), false);
    ListenPolicy.check(SocketAddress.inet("0.0.0.0", 7400), true);
    for (String open : List.of("0.0.0.0", "192.168.1.5", "::")) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> ListenPolicy.check(SocketAddress.inet(open, 7400), false));
      assertTrue(String.valueOf(e.getMessage()).contains("needed is a key file"), e.toString());
    }
  }

  private PeerListener listener(SocketAddress at, @Nullable SharedKey needed, BlockingQueue<Session> sessions) {
    return new PeerListener(at, Role.STANDBY, RING, needed, TIMEOUT, EVERYBODY, sessions::add);
  }

  private static CompletableFuture<Session> answering(FileDescriptor end, @Nullable SharedKey needed, Handshake.Admission admission) {
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return Handshake.answer(new PeerSocket(end, TIMEOUT), Role.STANDBY, RING, needed, admission);
          } catch (IOException | RefusedException e) {
            throw new CompletionException(e);
          }
        });
  }
}
