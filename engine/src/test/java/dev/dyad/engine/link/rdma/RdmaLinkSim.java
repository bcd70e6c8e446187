package dev.dyad.engine.link.rdma;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.LinkEnd;
import dev.dyad.engine.wire.Crc32c;
import java.io.IOException;
import java.time.Duration;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** The link on a provider that delays, scatters, refuses, falls silent and, where said, breaks its promise. One thread, by seed. */
final class RdmaLinkSim {
  private static final long RING_BYTES = 1 << 16;
  private static final int FRAME_BYTES = 1024;

  @Test
  void shouldNeverShowAByteThatIsNotInPlace() {
    for (int seed = 0; seed < 60; seed++) {
      var config = RdmaPairs.calm().withQueuePairs(1 + seed % 4, 4096);
      var pair = RdmaPairs.simulated(seed, RING_BYTES, config, false, System::nanoTime);
      assertEquals(0, carry(pair, seed, 12 * RING_BYTES), "seed " + seed);
      pair.sender().close();
      pair.receiver().close();
    }
  }

  @Test
  void shouldBetrayABrokenProviderByChecksumAndSequence() {
    int torn = 0;
    for (int seed = 0; seed < 20; seed++) {
      var pair = RdmaPairs.simulated(seed, RING_BYTES, RdmaPairs.calm(), true, System::nanoTime);
      torn += carry(pair, seed, 12 * RING_BYTES);
      pair.sender().close();
      pair.receiver().close();
    }
    assertTrue(torn > 0, "the broken provider never broke anything: the test proves nothing");
  }

  /** Carries frames that begin with their number and end with a checksum; gives how many did not pass. */
  private static int carry(RdmaPairs.Pair pair, long seed, long total) {
    var random = new SplittableRandom(seed);
    long written = 0;
    long read = 0;
    int torn = 0;
    while (read < total) {
      while (written < total && written + FRAME_BYTES <= pair.sender().released() + RING_BYTES && random.nextInt(4) > 0) {
        frame(pair.sender().ring().address(written), written);
        written += FRAME_BYTES;
      }
      pair.sender().publish(written);
      pair.sender().poll();
      pair.receiver().poll();
      for (; read + FRAME_BYTES <= pair.receiver().received(); read += FRAME_BYTES) {
        long at = pair.receiver().ring().address(read);
        boolean isWhole = Memory.getInt(at + FRAME_BYTES - 4) == Crc32c.ofSmall(at, FRAME_BYTES - 4);
        // A frame of the ring's last round is whole as well: that is what a frame's sequence is for.
        boolean isThisOne = Memory.getLong(at) == read;
        torn += isWhole && isThisOne ? 0 : 1;
      }
      pair.receiver().release(read);
      assertTrue(pair.sender().isUp() && pair.receiver().isUp(), () -> pair.sender().failure() + pair.receiver().failure());
    }
    return torn;
  }

  private static void frame(long at, long position) {
    for (int i = 0; i < FRAME_BYTES; i += 8) {
      Memory.putLong(at + i, position + i);
    }
    Memory.putInt(at + FRAME_BYTES - 4, Crc32c.ofSmall(at, FRAME_BYTES - 4));
  }

  @Test
  void shouldRefuseWhatAFencedPeerStillSends() {
    var pair = RdmaPairs.simulated(3, RING_BYTES, RdmaPairs.calm());
    Memory.putLong(pair.sender().ring().address(0), 1);
    pair.sender().publish(8);
    while (pair.receiver().received() < 8) {
      pair.sender().poll();
      pair.receiver().poll();
    }
    pair.receiver().fence();
    assertFalse(pair.receiver().isUp());
    Memory.putLong(pair.sender().ring().address(8), 666);
    pair.sender().publish(16);
    while (pair.sender().isUp()) {
      pair.sender().poll();
    }
    assertEquals("remote access error", pair.sender().failure());
    assertEquals(1, Memory.getLong(pair.receiver().ring().address(0)));
    assertEquals(0, Memory.getLong(pair.receiver().ring().address(8)));
    pair.sender().close();
    pair.receiver().close();
  }

  @Test
  void shouldEndWhenThePeerIsSilentForTooLongButNotWhenWeWereAbsentOurselves() {
    var clock = new AtomicLong();
    var config = RdmaPairs.calm().withTimes(14, Duration.ofMillis(20), Duration.ofMillis(500));
    var pair = RdmaPairs.simulated(4, RING_BYTES, config, false, clock::get);
    for (int i = 0; i < 2000; i++) {
      clock.addAndGet(1_500_000);
      pair.sender().poll();
      pair.receiver().poll();
    }
    assertTrue(pair.sender().isUp() && pair.receiver().isUp(), pair.sender().failure());
    // Both stand still for an hour, as a suspended host does, and go on.
    clock.addAndGet(3_600_000_000_000L);
    for (int i = 0; i < 2000; i++) {
      clock.addAndGet(1_500_000);
      pair.sender().poll();
      pair.receiver().poll();
    }
    assertTrue(pair.sender().isUp() && pair.receiver().isUp(), pair.sender().failure());
    // The sender's thread stands still; only the receiver goes on.
    long start = clock.get();
    while (pair.receiver().isUp()) {
      clock.addAndGet(1_500_000);
      pair.receiver().poll();
    }
    long millis = (clock.get() - start) / 1_000_000;
    assertTrue(millis >= 450 && millis < 600, "noticed after " + millis + " ms");
    assertTrue(pair.receiver().failure().startsWith("nothing heard"), pair.receiver().failure());
    pair.sender().close();
    pair.receiver().close();
  }

  @Test
  void shouldEndByWhatHappensToThePortWithinItsBoundAlsoWhenThereIsAlwaysSomethingToDo() {
    var clock = new AtomicLong();
    var pair = RdmaPairs.simulated(6, RING_BYTES, RdmaPairs.calm(), false, clock::get);
    var port = (SimPort) ((RdmaEnd) pair.receiver()).port;
    long happened = 0;
    long idle = 0;
    for (long position = 8; pair.receiver().isUp(); position += 8) {
      assertTrue(clock.addAndGet(100_000) < 1_000_000_000, "still up after a second");
      if (happened == 0 && clock.get() > 100_000_000) {
        happened = clock.get();
        port.happen("port error");
      }
      pair.sender().publish(position);
      for (int work = 0; work == 0 && pair.receiver().isUp() && pair.sender().isUp(); ) {
        pair.sender().poll();
        // Only a receiver that has something to do is let run.
        port.letArrive();
        work = pair.receiver().poll();
        idle += work == 0 ? 1 : 0;
      }
      pair.receiver().release(pair.receiver().received());
    }
    assertEquals("port error", pair.receiver().failure());
    assertTrue(clock.get() - happened <= 1_200_000, "ended after " + (clock.get() - happened) / 1000 + " us");
    assertEquals(0, idle, "the receiver was to be busy");
    pair.sender().close();
    pair.receiver().close();
  }

  @Test
  void shouldNeverFindAReceiverThatIsNotReady() {
    for (int seed = 0; seed < 10; seed++) {
      var pair = RdmaPairs.simulated(seed, RING_BYTES, RdmaPairs.calm().withQueuePairs(1 + seed % 3, 4096));
      try (var message = Mapping.anonymous(Mapping.PAGE_BYTES)) {
        Memory.putInt(message.hostVirt(), 1);
        var random = new SplittableRandom(seed);
        long position = 0;
        for (int i = 0; i < 20_000; i++) {
          if (random.nextBoolean() && position + 64 <= pair.sender().released() + RING_BYTES) {
            position += 64;
            pair.sender().publish(position);
          }
          pair.sender().poll();
          if (random.nextInt(3) == 0) {
            pair.receiver().sendControl(message.hostVirt());
            pair.receiver().poll();
            pair.receiver().release(pair.receiver().received());
          }
          while (pair.sender().receiveControl(message.hostVirt() + LinkEnd.CONTROL_BYTES)) {}
        }
        assertEquals(0, ((SimPort) ((RdmaEnd) pair.sender()).port).receiverNotReady + ((SimPort) ((RdmaEnd) pair.receiver()).port).receiverNotReady);
        assertTrue(pair.receiver().received() > 5 * RING_BYTES, "received " + pair.receiver().received());
      }
      pair.sender().close();
      pair.receiver().close();
    }
  }

  @Test
  void shouldTakeBackWhatAHelloSaysAndRefuseWhatNoPeerWouldSay() throws IOException {
    var hello = new RdmaHello(true, true, 2, 1024, 1, 2, 3L << 40, RING_BYTES, 7, 0, 64, 1 << 18, new int[] {17, 18}, new int[] {5, 6});
    byte[] bytes = hello.encode();
    var read = RdmaHello.decode(bytes, RING_BYTES);
    assertEquals(3L << 40, read.ringVirt());
    assertEquals(18, read.numbers()[1]);
    assertEquals(6, read.firstPackets()[1]);
    assertEquals(2, read.gidLow());
    assertTrue(read.tcpWillDo() && read.managed());
    assertThrows(IOException.class, () -> RdmaHello.decode(bytes, 2 * RING_BYTES));
    for (int seed = 0; seed < 20_000; seed++) {
      byte[] spoilt = bytes.clone();
      var random = new SplittableRandom(seed);
      for (int n = random.nextInt(1, 6); n > 0; n--) {
        spoilt[random.nextInt(spoilt.length)] = (byte) random.nextInt();
      }
      try {
        var other = RdmaHello.decode(spoilt, RING_BYTES);
        assertTrue(other.queuePairs() <= RdmaHello.QUEUE_PAIRS_MAX && Integer.bitCount(other.stripeBytes()) <= 1);
      } catch (IOException e) {
        assertTrue(String.valueOf(e.getMessage()).startsWith("the peer's rdma hello"));
      }
    }
  }
}
