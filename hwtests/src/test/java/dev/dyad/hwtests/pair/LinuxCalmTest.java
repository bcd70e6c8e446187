package dev.dyad.hwtests.pair;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.json.Json;
import dev.dyad.hwtests.Needs;
import dev.dyad.perf.pair.LinuxPair;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A detector that is quick enough to be of use must not take a busy minute for a death. */
class LinuxCalmTest {
  private static final Duration BOUND = Duration.ofSeconds(60);
  private static final long SECONDS = Long.getLong("dyad.calm.seconds", 600);

  @BeforeAll
  static void needsLinuxGuestAndNetwork() {
    Needs.linuxGuestAndNetwork();
  }

  @Test
  @Tag("soak")
  @Timeout(value = 1, unit = TimeUnit.HOURS)
  void shouldRaiseNoAlarmUnderLoadAtABoundOfAHundredMilliseconds() throws Exception {
    try (LinuxPair pair = new LinuxPair(new LinuxPair.Options("10ms", "100ms", 512, "tcp", List.of("--realtime")))) {
      pair.startGuest();
      pair.startStandby(1);
      pair.startAttach();
      pair.awaitProtected(BOUND);
      pair.startInside("redis-benchmark", "-h", pair.redisHost(), "-p", pair.redisPort(), "-t", "set", "-c", "64", "-r", "10000", "-l", "-q");
      Json first = pair.status("primary", pair.attach()).orElseThrow();
      long until = System.nanoTime() + SECONDS * 1_000_000_000L;
      while (System.nanoTime() < until) {
        Thread.sleep(500);
        Json now = pair.status("primary", pair.attach()).orElseThrow(() -> new AssertionError(pair.logs()));
        assertTrue(now.get("protected").isTrue(), now + "\n" + pair.logs());
        assertEquals(first.get("generation").number(-1), now.get("generation").number(-2), pair.logs());
      }
      Json last = pair.status("primary", pair.attach()).orElseThrow();
      System.out.printf("%d s, %d epochs, no alarm%n", SECONDS, last.get("epochs").number(0) - first.get("epochs").number(0));
      assertTrue(last.get("releasedPackets").number(0) > 1000 * SECONDS / 10, "under load: " + last);
    }
  }
}
