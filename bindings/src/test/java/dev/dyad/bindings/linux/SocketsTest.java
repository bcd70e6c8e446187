package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SocketsTest {

  private final Mapping memory = Mapping.anonymous(1 << 20);
  private final long at = memory.hostVirt();

  @AfterEach
  void close() {
    memory.close();
  }

  @Test
  void shouldConnectSendAndSeeTheEndOverTcp() {
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet("127.0.0.1", 0), 4)) {
      SocketAddress where = Sockets.localAddress(listener.fd());
      assertTrue(where.toInet().getPort() > 0);
      try (FileDescriptor client = Sockets.connect(where, SOCK_STREAM());
          FileDescriptor server = FileDescriptor.adopt(Sockets.accept(listener.fd(), SOCK_NONBLOCK()))) {
        assertEquals(where.toString(), Sockets.peerAddress(client.fd()).toString());
        assertEquals(0, Sockets.setNoDelay(client.fd()));
        assertEquals(1, Sockets.option(client.fd(), IPPROTO_TCP(), TCP_NODELAY()));
        assertEquals(0, Sockets.setOption(client.fd(), SOL_SOCKET(), SO_SNDBUF(), 100_000));
        assertEquals(-EAGAIN(), Sockets.receive(server.fd(), at, 8, 0));
        Memory.putLong(at, 0x1234);
        assertEquals(8, Sockets.send(client.fd(), at, 8, 0));
        assertEquals(POLLIN(), Poll.once(server.fd(), POLLIN(), 10_000));
        assertEquals(8, Sockets.receive(server.fd(), at + 64, 100, 0));
        assertEquals(0x1234, Memory.getLong(at + 64));
        assertEquals(0, Sockets.shutdown(client.fd(), SHUT_WR()));
        assertEquals(POLLIN(), Poll.once(server.fd(), POLLIN(), 10_000));
        assertEquals(0, Sockets.receive(server.fd(), at, 8, 0), "the end");
      }
    }
  }

  @Test
  void shouldTellARefusedConnection() {
    SocketAddress where;
    try (FileDescriptor listener = Sockets.listen(SocketAddress.inet("127.0.0.1", 0), 4)) {
      where = Sockets.localAddress(listener.fd());
    }
    NativeException e = assertThrows(NativeException.class, () -> Sockets.connect(where, SOCK_STREAM()));
    assertEquals("ECONNREFUSED", e.errnoName());
    assertEquals("connect: ECONNREFUSED (" + where + ")", e.getMessage());
    try (FileDescriptor socket = Sockets.open(AF_INET(), SOCK_STREAM() | SOCK_NONBLOCK())) {
      int result = Sockets.connect(socket.fd(), where);
      if (result == -EINPROGRESS()) {
        assertTrue(Poll.once(socket.fd(), POLLOUT(), 10_000) > 0);
        result = -Sockets.pendingError(socket.fd());
      }
      assertEquals(-ECONNREFUSED(), result);
    }
  }

  @Test
  void shouldGatherWhatAFullSocketTookAndGoOn() {
    try (FileDescriptor listener = Sockets.listen(SocketAddress.unixAbstract("dyad-sockets-test-" + Threads.processId()), 1);
        FileDescriptor client = Sockets.connect(Sockets.localAddress(listener.fd()), SOCK_STREAM());
        FileDescriptor server = FileDescriptor.adopt(Sockets.accept(listener.fd(), 0));
        IoVector vector = new IoVector(8)) {
      client.setNonBlocking(true);
      int half = 400_000;
      for (int i = 0; i < half; i += 4) {
        Memory.putInt(at + i, i);
      }
      vector.add(at, 100_000);
      vector.add(at + 200_000, half - 200_000);
      long expected = vector.bytes();
      long got = 0;
      boolean filled = false;
      while (got < expected) {
        if (vector.bytes() > 0) {
          long sent = Sockets.send(client.fd(), vector, 0);
          filled |= sent < vector.bytes();
          if (sent != -EAGAIN()) {
            vector.consume(sent);
          }
        }
        got += Sockets.receive(server.fd(), at + half + got, 50_000, 0);
      }
      assertTrue(filled, "the socket was never full: the test proves nothing");
      assertTrue(Memory.equal(at, at + half, 100_000));
      assertTrue(Memory.equal(at + 200_000, at + half + 100_000, half - 200_000));
      assertEquals(0, Sockets.unsentBytes(client.fd()));
    }
  }

  @Test
  void shouldPassADescriptorAndKnowThePeer(@TempDir Path folder) {
    SocketAddress where = SocketAddress.unix(folder.resolve("s").toString());
    try (FileDescriptor listener = Sockets.listen(where, 1);
        FileDescriptor client = Sockets.connect(where, SOCK_STREAM());
        FileDescriptor server = FileDescriptor.adopt(Sockets.accept(listener.fd(), 0));
        MemFd shared = MemFd.create("passed", 4096)) {
      assertEquals("unix:" + folder.resolve("s"), Sockets.localAddress(listener.fd()).toString());
      assertEquals(Threads.processId(), Sockets.peerCredentials(server.fd()).pid());
      assertEquals(1, Sockets.sendDescriptor(client.fd(), shared.fd()));
      try (FileDescriptor received = FileDescriptor.adopt(Sockets.receiveDescriptor(server.fd()));
          Mapping mine = shared.map();
          Mapping theirs = Mapping.shared(received.fd(), 0, 4096)) {
        Memory.putInt(mine.hostVirt(), 99);
        assertEquals(99, Memory.getInt(theirs.hostVirt()));
      }
      Memory.putByte(at, (byte) 1);
      assertEquals(1, Sockets.send(client.fd(), at, 1, 0));
      assertEquals(-EBADMSG(), Sockets.receiveDescriptor(server.fd()), "a byte without a descriptor");
    }
  }

  @Test
  void shouldNotDieOfAClosedPeer() {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    try (FileDescriptor one = ends[0]) {
      ends[1].close();
      assertEquals(-EPIPE(), Sockets.send(one.fd(), at, 1, 0));
      assertEquals(0, Sockets.receive(one.fd(), at, 1, 0));
    }
  }

  @Test
  void shouldKeepDatagramsWhole() {
    FileDescriptor[] ends = Sockets.pair(SOCK_DGRAM());
    try (FileDescriptor one = ends[0];
        FileDescriptor two = ends[1]) {
      assertEquals(5, Sockets.send(one.fd(), at, 5, 0));
      assertEquals(7, Sockets.send(one.fd(), at, 7, 0));
      assertEquals(5, Sockets.receive(two.fd(), at, 100, 0));
      assertEquals(7, Sockets.receive(two.fd(), at, 100, 0));
    }
  }

  @Test
  void shouldWriteAddressesAsPeopleDo() {
    assertEquals("127.0.0.1:7400", SocketAddress.inet("127.0.0.1", 7400).toString());
    assertEquals("[0:0:0:0:0:0:0:1]:80", SocketAddress.inet("::1", 80).toString());
    assertEquals("unix:@x", SocketAddress.unixAbstract("x").toString());
    assertFalse(SocketAddress.unix("/x").isInet());
    String longest = "x".repeat(107);
    assertEquals("unix:" + longest, SocketAddress.unix(longest).toString());
    assertThrows(IllegalArgumentException.class, () -> SocketAddress.unix(longest + "x"));
  }
}
