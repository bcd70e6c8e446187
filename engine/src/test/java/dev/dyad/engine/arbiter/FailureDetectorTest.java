package dev.dyad.engine.arbiter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class FailureDetectorTest {
  private static final long BOUND = 100;
  private static final long CHECK = 10;

  private long start = 1_000;
  private FailureDetector detector = new FailureDetector(BOUND, CHECK, start);

  @Test
  void shouldExpireAtTheBoundAndNotBefore() {
    for (long now = start; now < start + BOUND; now += CHECK) {
      assertFalse(detector.expired(now), "at " + (now - start));
    }
    assertTrue(detector.expired(start + BOUND));
    assertEquals(BOUND, detector.silenceNanos());
    assertEquals(0, detector.stalls());
  }

  @Test
  void shouldStartAnewWithEachSignOfLife() {
    long now = start;
    for (int i = 0; i < 1000; i++) {
      now += CHECK;
      assertFalse(detector.expired(now));
      if (i % 9 == 8) {
        detector.heard(now);
      }
    }
  }

  @Test
  void shouldNotTakeItsOwnStandstillForThePeersSilence() {
    assertFalse(detector.expired(start + CHECK));
    long woken = start + 10 * BOUND;
    assertFalse(detector.expired(woken), "the process was stopped; what the peer sent is still in the socket");
    assertEquals(1, detector.stalls());
    long now = woken;
    long silent = 2 * CHECK;
    while (!detector.expired(now)) {
      now += CHECK;
      silent += CHECK;
      assertTrue(silent <= BOUND + CHECK, "a dead peer is noticed all the same");
    }
    assertTrue(silent >= BOUND, "after " + silent);
  }

  @Test
  void shouldForgiveNothingTwice() {
    detector.expired(start + 50 * BOUND);
    detector.heard(start + 50 * BOUND + 1);
    long now = start + 50 * BOUND;
    boolean expired = false;
    long heard = now + 1;
    while (!expired) {
      now += CHECK;
      expired = detector.expired(now);
    }
    assertTrue(now - heard >= BOUND && now - heard < BOUND + CHECK, (now - heard) + " after the last sign of life");
  }

  @Test
  void shouldWorkWhereTheClockWrapsAround() {
    start = Long.MAX_VALUE - 50;
    detector = new FailureDetector(BOUND, CHECK, start);
    for (long i = 0; i < BOUND; i += CHECK) {
      assertFalse(detector.expired(start + i));
    }
    assertTrue(detector.expired(start + BOUND));
  }

  @Test
  void shouldRefuseABoundThatIsNotLongerThanTheTimeBetweenChecks() {
    assertThrows(IllegalArgumentException.class, () -> new FailureDetector(10, 10, 0));
  }
}
