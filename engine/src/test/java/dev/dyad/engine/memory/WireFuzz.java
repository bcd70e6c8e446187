package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.wire.Reason;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Damaged streams against the standby's end of the memory channel, and damaged payloads against each payload's own check. What must hold is in
 * {@link FuzzedStream} and {@link FuzzedPayload}. A failure names the seed: {@code mvn test -pl engine -am -Dtest=WireFuzz -Ddyad.fuzzSeed=N}.
 */
@Timeout(600)
class WireFuzz {
  private static final int SEEDS = 3_000;

  @Test
  void shouldTakeTheCorpusAsItIs() {
    try (FuzzedStream stream = new FuzzedStream()) {
      Reason reason = stream.feed(stream.corpus(), stream.corpus().length, new SplittableRandom(1));
      assertEquals(Reason.NONE, reason);
      assertEquals(FuzzedStream.EPOCHS, stream.applied());
    }
  }

  @Test
  void shouldRefuseAnyFlippedBitInTheStream() {
    try (FuzzedStream stream = new FuzzedStream()) {
      for (int bit = 0; bit < 8 * stream.corpus().length; bit += (8 * stream.corpus().length / 1500) | 1) {
        byte[] bytes = stream.corpus().clone();
        bytes[bit / 8] ^= (byte) (1 << (bit % 8));
        int at = bit;
        Reason reason = stream.feed(bytes, bytes.length, new SplittableRandom(bit));
        // A length that grew waits for more instead.
        assertTrue(reason != Reason.NONE || stream.applied() < FuzzedStream.EPOCHS, () -> "bit " + at + " was not noticed");
      }
    }
  }

  @Test
  void shouldEndInADefinedWayWhateverIsDoneToTheStream() {
    long only = Long.getLong("dyad.fuzzSeed", -1);
    try (FuzzedStream stream = new FuzzedStream()) {
      for (long seed = only < 0 ? 0 : only; seed < (only < 0 ? SEEDS : only + 1); seed++) {
        stream.mutateAndFeed(seed);
      }
      assertTrue(only >= 0 || stream.reasonsSeen() >= 12, "only " + stream.reasonsSeen() + " kinds of refusal were reached");
    }
  }

  @Test
  void shouldReadNothingOutsideOfAPayload() {
    long only = Long.getLong("dyad.fuzzSeed", -1);
    try (FuzzedPayload payload = new FuzzedPayload()) {
      for (long seed = only < 0 ? 0 : only; seed < (only < 0 ? 10 * SEEDS : only + 1); seed++) {
        payload.mutateAndCheck(seed);
      }
      assertTrue(only >= 0 || (payload.good() > 1000 && payload.refused() > 1000), payload.good() + " good, " + payload.refused() + " refused");
    }
  }

  @Test
  @Tag("fuzz-long")
  void shouldEndInADefinedWayForTenMinutes() {
    long end = System.nanoTime() + 500_000_000_000L;
    try (FuzzedStream stream = new FuzzedStream();
        FuzzedPayload payload = new FuzzedPayload()) {
      for (long seed = SEEDS; System.nanoTime() < end; seed++) {
        stream.mutateAndFeed(seed);
        for (int i = 0; i < 10; i++) {
          payload.mutateAndCheck(10 * seed + i);
        }
      }
    }
  }
}
