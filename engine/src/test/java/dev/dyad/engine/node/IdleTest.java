package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class IdleTest {
  @Test
  void shouldSpinForAWhileAfterWorkAndThenSleep() {
    Idle idle = new Idle(false, 50);
    assertTrue(idle.spins(1000));
    assertTrue(idle.spins(1049));
    assertFalse(idle.spins(1050));
    assertFalse(idle.spins(2000), "what wakes without work is followed by sleep");
    idle.worked();
    assertTrue(idle.spins(3000));
    assertFalse(idle.spins(3050));
  }

  @Test
  void shouldSleepAtOnceOrNeverWhenSoTold() {
    assertFalse(new Idle(false, 0).spins(7));
    Idle busy = new Idle(true, 0);
    assertTrue(busy.spins(1));
    assertTrue(busy.spins(Long.MAX_VALUE));
  }
}
