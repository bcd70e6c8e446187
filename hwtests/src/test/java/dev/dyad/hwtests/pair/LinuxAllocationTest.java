package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.json.Json;
import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.OutsideClient;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Both nodes around a stock QEMU with Linux and Redis under a client's load: what their threads allocate for an epoch. */
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class LinuxAllocationTest {
  private static final Duration BOUND = Duration.ofSeconds(60);
  private static final long EPOCHS = 10_000;
  private static final long EPOCHS_MAX = 34_000;

  /** Of both epoch threads, which encode, ship, receive and apply as well, and of the net thread. */
  private record Point(long epoch, long primaryBytes, long netBytes, long standbyBytes) {
    static Point of(LinuxPair pair) {
      Json primary = pair.status("primary", pair.attach()).orElseThrow();
      Json standby = pair.status("standby", pair.standby()).orElseThrow();
      assertTrue(primary.get("protected").isTrue(), primary.toString());
      Point point =
          new Point(
              primary.get("lastCommittedEpoch").number(-1),
              primary.get("allocatedBytes").number(-1),
              primary.get("netAllocatedBytes").number(-1),
              standby.get("allocatedBytes").number(-1));
      assertTrue(point.primaryBytes > 0 && point.netBytes > 0 && point.standbyBytes > 0, point.toString());
      return point;
    }

    long bytesSince(Point before) {
      return primaryBytes - before.primaryBytes + netBytes - before.netBytes + standbyBytes - before.standbyBytes;
    }
  }

  @BeforeAll
  static void needsLinuxGuestAndNetwork() {
    Needs.linuxGuestAndNetwork();
  }

  @Test
  void shouldAllocateNothingForTenThousandEpochsOfARealGuest() throws Exception {
    try (LinuxPair pair = new LinuxPair(new LinuxPair.Options("1ms", "2s", 128, "tcp", List.of()))) {
      pair.startGuest();
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);
      OutsideClient client = pair.startClient();
      assertTrue(client.awaitAcked(100, BOUND), pair.logs());

      // The interpreter and the compilers allocate for these threads until all is compiled, and again when a compilation is undone for once; what an epoch
      // allocates shows in every stretch of epochs. So the first stretch that is long enough and free of it will do, wherever it begins.
      Point start = Point.of(pair);
      Point clean = start;
      Point now = start;
      while (now.epoch - clean.epoch < EPOCHS && now.epoch - start.epoch < EPOCHS_MAX) {
        Thread.sleep(100);
        now = Point.of(pair);
        if (now.bytesSince(clean) != 0) {
          clean = now;
        }
      }
      System.out.printf("no byte from epoch %d to %d; %d bytes in the %d before%n", clean.epoch, now.epoch, clean.bytesSince(start), clean.epoch - start.epoch);
      assertTrue(now.epoch - clean.epoch >= EPOCHS, "only " + (now.epoch - clean.epoch) + " epochs without a byte on the epoch and net threads\n" + pair.logs());
      assertEquals(0, client.finish(BOUND).lost());
    }
  }
}
