package dev.dyad.engine.epoch;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Every pair of state and event does what the table says, and every state can be reached and left as its table says. */
final class ProtocolTablesTest {

  @TestFactory
  List<DynamicTest> everyEventInEveryStateOfThePrimary() {
    List<DynamicTest> tests = new ArrayList<>();
    for (PrimaryState state : PrimaryState.values()) {
      for (PrimaryEvent event : PrimaryEvent.values()) {
        tests.add(DynamicTest.dynamicTest(event + " in " + state + " " + event.in(state), () -> {
          PrimaryBench bench = PrimaryBench.in(state);
          assertEquals(state, bench.primary.state());
          if (event == PrimaryEvent.SEALED && event.in(state) == Reaction.ACTS) {
            bench = sealPending(state);
          }
          PrimaryBench fired = bench;
          check(event.in(state), () -> fire(fired, event), fired.log, () -> fired.primary.state() == state);
        }));
      }
    }
    return tests;
  }

  @TestFactory
  List<DynamicTest> everyEventInEveryStateOfTheStandby() {
    List<DynamicTest> tests = new ArrayList<>();
    for (StandbyState state : StandbyState.values()) {
      for (StandbyEvent event : StandbyEvent.values()) {
        tests.add(DynamicTest.dynamicTest(event + " in " + state + " " + event.in(state), () -> {
          StandbyBench bench = StandbyBench.in(state);
          assertEquals(state, bench.standby.state());
          if (needsLink(event) && event.in(state) != Reaction.VIOLATION) {
            bench = linked(state);
          }
          if (event == StandbyEvent.APPLIED && event.in(state) == Reaction.ACTS) {
            bench = applyPending(state);
          }
          StandbyBench fired = bench;
          check(event.in(state), () -> fire(fired, event), fired.log, () -> fired.standby.state() == state);
        }));
      }
    }
    return tests;
  }

  private interface Question {
    boolean holds();
  }

  private static void check(Reaction reaction, Runnable event, ActionLog log, Question stateKept) {
    switch (reaction) {
      case VIOLATION -> assertThrows(ProtocolViolation.class, event::run);
      case ACTS -> assertDoesNotThrow(event::run);
      case IGNORED -> {
        assertDoesNotThrow(event::run);
        assertTrue(log.isEmpty(), log.toString());
        assertTrue(stateKept.holds());
      }
    }
  }

  // ---- the primary

  private static PrimaryBench sealPending(PrimaryState state) {
    PrimaryBench bench;
    if (state == PrimaryState.HANDING_OVER) {
      bench = PrimaryBench.in(PrimaryState.PROTECTED);
      bench.primary.onHandover(bench.now);
    } else {
      bench = PrimaryBench.in(state);
      bench.primary.onEpochFull(bench.now);
    }
    assertTrue(bench.log.hasAny("seal"));
    bench.log.forget();
    return bench;
  }

  private static void fire(PrimaryBench bench, PrimaryEvent event) {
    PrimaryProtocol p = bench.primary;
    // Where there is no link, only one that nobody has heard of gets past the check for links that have ended.
    long link = p.state().hasLink() ? PrimaryBench.LINK : 99;
    long asked = p.state() == PrimaryState.STARTING ? PrimaryBench.GENERATION : PrimaryBench.GENERATION + 1;
    long now = bench.now;
    switch (event) {
      case START -> p.onStart(1, 1, now);
      case PROMOTED -> p.onPromoted(1, 1, now);
      case STANDBY_CONNECTED -> p.onStandbyConnected(2, now);
      case BASELINE_LEVEL -> p.onBaselineLevel(link, now);
      case SEALED -> p.onSealed(p.openEpoch(), now);
      case ACK -> p.onAck(link, p.generation(), p.ackedEpoch() == 0 ? 0 : 1, now, now);
      case HEARD -> p.onHeard(link, now);
      case GOODBYE -> p.onGoodbye(link, now);
      case LINK_LOST -> p.onLinkLost(link, LinkEnd.CLOSED, now);
      case OUTPUT_WAITING -> p.onOutputWaiting(now);
      case EPOCH_FULL -> p.onEpochFull(now);
      case TICK -> p.onTick(now);
      case GRANTED -> p.onGranted(asked, now);
      case DENIED -> p.onDenied(asked, now);
      case UNREACHABLE -> p.onArbiterUnreachable(asked, now);
      case DETACH -> p.onDetach(now);
      case HANDOVER -> p.onHandover(now);
    }
  }

  // ---- the standby

  private static boolean needsLink(StandbyEvent event) {
    return switch (event) {
      case HEARD, STAMP, EPOCH_WHOLE, GOODBYE, LINK_LOST -> true;
      default -> false;
    };
  }

  /** {@code state}, entered such that the link is still up where that is possible at all. */
  private static StandbyBench linked(StandbyState state) {
    StandbyBench bench = StandbyBench.in(StandbyState.READY);
    switch (state) {
      case ARBITRATING -> bench.standby.onGoodbye(StandbyBench.LINK, Goodbye.HANDOVER, StandbyBench.BASELINE, bench.now);
      case STOOD_DOWN -> bench.standby.onGoodbye(StandbyBench.LINK, Goodbye.DETACH, StandbyBench.BASELINE, bench.now);
      default -> bench = StandbyBench.in(state);
    }
    assertEquals(state, bench.standby.state());
    bench.log.forget();
    return bench;
  }

  private static StandbyBench applyPending(StandbyState state) {
    StandbyBench bench = StandbyBench.in(StandbyState.READY);
    bench.whole(StandbyBench.BASELINE + 1);
    switch (state) {
      case CUT_OFF -> bench.standby.onLinkLost(StandbyBench.LINK, LinkEnd.CLOSED, bench.now);
      case ARBITRATING -> bench.standby.onGoodbye(StandbyBench.LINK, Goodbye.HANDOVER, StandbyBench.BASELINE + 1, bench.now);
      case PROMOTING -> {
        bench.standby.onGoodbye(StandbyBench.LINK, Goodbye.HANDOVER, StandbyBench.BASELINE + 1, bench.now);
        bench.standby.onGranted(StandbyBench.GENERATION + 1, bench.now);
      }
      case STOOD_DOWN -> bench.standby.onGoodbye(StandbyBench.LINK, Goodbye.DETACH, StandbyBench.BASELINE, bench.now);
      default -> {}
    }
    assertEquals(state, bench.standby.state());
    bench.log.forget();
    return bench;
  }

  private static void fire(StandbyBench bench, StandbyEvent event) {
    StandbyProtocol s = bench.standby;
    long link = s.link() == PrimaryProtocol.NO_LINK ? 99 : StandbyBench.LINK;
    long asked = StandbyBench.GENERATION + 1;
    long now = bench.now;
    switch (event) {
      case CONNECTED -> s.onConnected(50, StandbyBench.GENERATION, 1, now);
      case HEARD -> s.onHeard(link, now);
      case STAMP -> s.onStamp(link, s.generation(), now, now);
      case EPOCH_WHOLE -> s.onEpochWhole(link, s.generation(), s.wholeEpoch() + 1, now, now);
      case GOODBYE -> s.onGoodbye(link, Goodbye.DETACH, 1, now);
      case LINK_LOST -> s.onLinkLost(link, LinkEnd.CLOSED, now);
      case APPLIED -> s.onApplied(s.appliedEpoch() + 1, now);
      case TICK -> s.onTick(now);
      case GRANTED -> s.onGranted(asked, now);
      case DENIED -> s.onDenied(asked, now);
      case UNREACHABLE -> s.onArbiterUnreachable(asked, now);
      case REPLICA_DROPPED -> s.onReplicaDropped(now);
      case STOP -> s.onStop(now);
    }
  }

  // ---- shapes

  @Test
  void shouldLeaveNoFinalStateOfThePrimary() {
    for (PrimaryState next : PrimaryState.values()) {
      assertEquals(false, PrimaryState.FENCED.mayBecome(next));
      assertEquals(false, PrimaryState.STOPPED.mayBecome(next));
    }
  }

  @Test
  void shouldLeaveNoFinalStateOfTheStandby() {
    for (StandbyState next : StandbyState.values()) {
      assertEquals(false, StandbyState.PROMOTED.mayBecome(next));
      assertEquals(false, StandbyState.STOPPED.mayBecome(next));
    }
  }

  @Test
  void shouldReachEveryState() {
    for (PrimaryState state : PrimaryState.values()) {
      assertEquals(state, PrimaryBench.in(state).primary.state());
    }
    for (StandbyState state : StandbyState.values()) {
      assertEquals(state, StandbyBench.in(state).standby.state());
    }
  }
}
