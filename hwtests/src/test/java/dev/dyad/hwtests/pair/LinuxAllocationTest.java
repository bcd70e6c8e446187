package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.json.Json;
import dev.dyad.nic.NetworkLab;
import dev.dyad.perf.pair.LinuxPair;
import dev.dyad.perf.pair.RedisClient;
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
  private static final long WARM_EPOCHS = 4_000;
  private static final int WINDOWS_MAX = 3;

  /** Of both epoch threads, which encode, ship, receive and apply as well, and of the net thread. */
  private record Point(long epoch, long primaryBytes, long netBytes, long standbyBytes) {
    static Point of(LinuxPair pair) {
      Json primary = pair.status("primary", pair.attach()).orElseThrow();
      Json standby = pair.status("standby", pair.standby()).orElseThrow();
      assertTrue(primary.get("protected").isTrue(), primary.toString());
      return new Point(
          primary.get("lastCommittedEpoch").number(-1),
          primary.get("allocatedBytes").number(-1),
          primary.get("netAllocatedBytes").number(-1),
          standby.get("allocatedBytes").number(-1));
    }

    long bytesSince(Point before) {
      return primaryBytes - before.primaryBytes + netBytes - before.netBytes + standbyBytes - before.standbyBytes;
    }
  }

  @BeforeAll
  static void needsLinuxGuestAndNetwork() {
    try {
      LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      assumeTrue(false, String.valueOf(e.getMessage()));
    }
    String noNetwork = NetworkLab.unavailable();
    assumeTrue(noNetwork.isEmpty(), noNetwork);
  }

  @Test
  void shouldAllocateNothingForTenThousandEpochsOfARealGuest() throws Exception {
    try (LinuxPair pair = new LinuxPair(new LinuxPair.Options("2ms", "2s", 256, "tcp", List.of()))) {
      pair.startGuest();
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);
      RedisClient client = pair.startClient();
      assertTrue(client.awaitAcked(100, BOUND), pair.logs());

      // The compiler may undo one of its compilations for once, which makes the objects it had removed; what an epoch allocates shows in every window.
      long least = Long.MAX_VALUE;
      Point before = Point.of(pair);
      for (long from = before.epoch; before.epoch - from < WARM_EPOCHS; before = Point.of(pair)) {
        Thread.sleep(200);
      }
      for (int window = 0; window < WINDOWS_MAX && least > 0; window++) {
        Point after = before;
        while (after.epoch - before.epoch < EPOCHS) {
          Thread.sleep(200);
          after = Point.of(pair);
        }
        least = Math.min(least, after.bytesSince(before));
        System.out.printf("epochs %d to %d: %d bytes%n", before.epoch, after.epoch, after.bytesSince(before));
        before = after;
      }
      assertEquals(0, least, "bytes on the epoch and net threads over " + EPOCHS + " epochs\n" + pair.logs());
      assertEquals(0, client.finish(BOUND).lost());
    }
  }
}
