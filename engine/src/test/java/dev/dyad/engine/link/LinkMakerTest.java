package dev.dyad.engine.link;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.LinkConfig.Wish;
import dev.dyad.engine.link.rdma.RdmaConfig;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which link comes of what two sides want. The loopback has no RDMA device. */
class LinkMakerTest {
  private static final Duration TIMEOUT = Duration.ofSeconds(20);
  private static final long RING_BYTES = 1 << 16;

  private final LinkMaker[] makers = new LinkMaker[2];

  private record Ends(ReplicationLink sender, ReplicaLink receiver) {}

  private Ends make(LinkPair.Kind kind, Wish sends, Wish receives) throws IOException {
    FileDescriptor[] sockets = LinkPair.connected(kind);
    Session[] sessions = new Session[2];
    for (int i = 0; i < 2; i++) {
      sessions[i] = new Session(new PeerSocket(sockets[i], TIMEOUT), new Offer(Role.PRIMARY, Channel.MEMORY, 1, RING_BYTES, 0, new byte[32]), RING_BYTES);
      makers[i] = new LinkMaker(LinkConfig.of(i == 0 ? sends : receives, Duration.ofSeconds(1), -1, Map.of()));
    }
    CompletableFuture<ReplicaLink> receiver = CompletableFuture.supplyAsync(() -> {
      try {
        return makers[1].receivingEnd(sessions[1]);
      } catch (IOException e) {
        throw new CompletionException(e);
      }
    });
    try {
      return new Ends(makers[0].sendingEnd(sessions[0]), receiver.join());
    } catch (IOException e) {
      assertThrows(CompletionException.class, receiver::join);
      throw e;
    }
  }

  @ParameterizedTest
  @CsvSource({"AUTO,AUTO", "AUTO,TCP", "TCP,AUTO", "TCP,TCP"})
  void shouldAgreeOnTcpAndSayWhy(Wish sends, Wish receives) throws IOException {
    Ends ends = make(LinkPair.Kind.TCP, sends, receives);
    try (ReplicationLink sender = ends.sender();
        ReplicaLink receiver = ends.receiver()) {
      Memory.putLong(sender.ring().address(0), 4711);
      sender.publish(8);
      long start = System.nanoTime();
      while (receiver.received() < 8 && System.nanoTime() - start < TIMEOUT.toNanos()) {
        sender.poll();
        receiver.poll();
      }
      assertEquals(4711, Memory.getLong(receiver.ring().address(0)));
      for (int i = 0; i < 2; i++) {
        assertTrue(makers[i].text(true).startsWith("tcp: "), makers[i].text(true));
        assertEquals((i == 0 ? sends : receives) == Wish.TCP, makers[i].text(true).contains("asked for"), makers[i].text(true));
        assertEquals("none", makers[i].text(false));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"RDMA,AUTO", "AUTO,RDMA", "TCP,RDMA", "RDMA,RDMA"})
  void shouldHaveNoLinkWhenOneSideWantsOnlyRdma(Wish sends, Wish receives) {
    IOException e = assertThrows(IOException.class, () -> make(LinkPair.Kind.TCP, sends, receives));
    assertTrue(String.valueOf(e.getMessage()).contains("allow tcp on both sides"), e.getMessage());
    for (LinkMaker maker : makers) {
      assertTrue(maker.text(false).startsWith("none: no link over RDMA: "), maker.text(false));
    }
  }

  @Test
  void shouldShareMemoryOnOneHostWhateverIsWished() throws IOException {
    Ends ends = make(LinkPair.Kind.SHM, Wish.RDMA, Wish.TCP);
    assertEquals("shared memory", makers[0].text(true));
    assertEquals("shared memory", makers[1].text(true));
    ends.sender().close();
    ends.receiver().close();
  }

  @Test
  void shouldGiveUpNoSoonerThanTheDetector() {
    for (int millis : new int[] {20, 100, 1000, 3000, 60_000}) {
      RdmaConfig config = RdmaConfig.standard().within(Duration.ofMillis(millis));
      double all = (config.retries() + 1) * 4096e-6 * Math.pow(2, config.timeout());
      assertTrue(all >= millis && all <= 2 * millis, millis + " ms: all attempts take " + all);
      assertTrue(config.beat().toMillis() * 3 < millis && config.silence().toMillis() >= millis);
    }
  }

  @Test
  void shouldTakeOptionsByNameAndNameThoseThatAreNone() {
    RdmaConfig config = RdmaConfig.standard().with(Map.of("device", "mlx5_1", "port", "2", "gid", "3", "mtu", "2048", "queue-pairs", "4", "depth", "512"));
    assertEquals("mlx5_1 2 3 2048 4 512", config.device() + " " + config.port() + " " + config.gidIndex() + " " + config.mtuBytes() + " " + config.queuePairs() + " " + config.sendDepth());
    for (Map<String, String> wrong : java.util.List.of(Map.of("ports", "1"), Map.of("mtu", "big"), Map.of("mtu", "1500"), Map.of("retries", "7"), Map.of("depth", "100"))) {
      assertThrows(IllegalArgumentException.class, () -> RdmaConfig.standard().with(wrong), wrong.toString());
    }
  }
}
