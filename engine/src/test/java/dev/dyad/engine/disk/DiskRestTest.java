package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.disk.nbd.NbdServer;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.shm.ShmReplicaLink;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import dev.dyad.engine.link.tcp.TcpReplicaLink;
import dev.dyad.engine.link.tcp.TcpReplicationLink;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What ends a disk thread's sleep. The bound stands for a sleep that nothing ends: it is not waited for when all is well. */
class DiskRestTest {
  private static final long BOUND_NANOS = 20_000_000_000L;
  private static final long RING_BYTES = 1 << 20;

  @TempDir Path folder;

  @Test
  void shouldWakeForACompletion() throws IOException {
    Path file = Files.write(folder.resolve("image"), new byte[1 << 20]);
    try (UringDisk disk = UringDisk.open(file.toString(), 8);
        Mapping data = Mapping.anonymous(1 << 16);
        DiskRest rest = new DiskRest()) {
      int[] done = new int[1];
      for (int round = 1; round <= 100; round++) {
        assertTrue(disk.submit(BlockDevice.READ, 0, 0, 1 << 16, data.hostVirt(), round));
        while (done[0] < round) {
          disk.rest(rest.begin()); // hands it over, too
          assertTrue(rest.sleep(BOUND_NANOS), "slept on although request " + round + " was under way");
          disk.poll((tag, error) -> done[0] += error == 0 ? 1 : 0);
        }
      }
      disk.rest(rest.begin());
      assertFalse(rest.sleep(0), "nothing is under way");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"shm", "tcp"})
  void shouldWakeForBytesAndForRoom(String name) throws Exception {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    ReplicaLink in = name.equals("shm") ? ShmReplicaLink.create(ends[1], RING_BYTES) : new TcpReplicaLink(ends[1], RING_BYTES);
    try (ReplicationLink out = name.equals("shm") ? ShmReplicationLink.receive(ends[0], RING_BYTES, 5_000) : new TcpReplicationLink(ends[0], RING_BYTES)) {
      Thread reader =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try (DiskRest rest = new DiskRest()) {
                      while (in.received() < 8 * RING_BYTES && sleepsWell(rest, in)) {
                        in.release(in.received());
                      }
                      while (in.poll() > 0) {} // what was let go of is told
                    }
                  });
      try (DiskRest rest = new DiskRest()) {
        long written = 0;
        while (written < 8 * RING_BYTES) {
          written = Math.min(out.released() + RING_BYTES, 8 * RING_BYTES);
          out.publish(written);
          assertTrue(sleepsWell(rest, out), "room was not told of at " + written);
        }
        while (out.released() < written) {
          assertTrue(sleepsWell(rest, out), "room was not told of at the end");
        }
      }
      reader.join();
      assertEquals(8 * RING_BYTES, in.received());
    } finally {
      in.close();
    }
  }

  /** Moves what there is, then sleeps until there is more. */
  private static boolean sleepsWell(DiskRest rest, dev.dyad.engine.link.LinkEnd link) {
    if (link.poll() > 0) {
      return true;
    }
    rest.begin().on(link);
    return rest.sleep(BOUND_NANOS);
  }

  @Test
  void shouldNotSleepOnALinkThatIsDown() {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    ends[1].close();
    try (ReplicationLink out = new TcpReplicationLink(ends[0], RING_BYTES);
        DiskRest rest = new DiskRest()) {
      rest.begin().on(out);
      assertTrue(rest.sleep(BOUND_NANOS), "its end is an event");
      out.poll();
      assertFalse(out.isUp());
      rest.begin().on(out);
      assertFalse(rest.sleep(0), "it is no event for ever");
    }
  }

  @Test
  void shouldWakeForAClientOfTheServer() throws IOException {
    Path file = Files.write(folder.resolve("image"), new byte[1 << 20]);
    Path socket = folder.resolve("nbd");
    try (UringDisk disk = UringDisk.open(file.toString(), 8);
        NbdServer server = new NbdServer(disk, socket, "disk0");
        DiskRest rest = new DiskRest();
        Mapping bytes = Mapping.anonymous(Mapping.PAGE_BYTES)) {
      server.rest(rest.begin());
      assertFalse(rest.sleep(0), "nobody has come");
      try (FileDescriptor client = Sockets.connect(SocketAddress.unix(socket.toString()), SOCK_STREAM())) {
        server.rest(rest.begin());
        assertTrue(rest.sleep(BOUND_NANOS), "a client has come");
        while (server.poll() > 0) {}
        assertEquals(1, server.connections());
        server.rest(rest.begin());
        assertFalse(rest.sleep(0), "it has said nothing");
        Sockets.send(client.fd(), bytes.hostVirt(), 4, 0);
        server.rest(rest.begin());
        assertTrue(rest.sleep(BOUND_NANOS), "it has said something");
      }
    }
  }

  @Test
  void shouldCarryOutCallsWhileItRests() {
    AtomicInteger turns = new AtomicInteger();
    AtomicInteger calls = new AtomicInteger();
    DiskThread thread =
        new DiskThread(
            now -> {
              turns.incrementAndGet();
              return 0;
            },
            false);
    thread.start();
    for (int i = 1; i <= 1_000; i++) {
      thread.call(calls::incrementAndGet);
      assertEquals(i, calls.get());
    }
    thread.close();
    thread.close();
    assertTrue(turns.get() > 0);
  }
}
