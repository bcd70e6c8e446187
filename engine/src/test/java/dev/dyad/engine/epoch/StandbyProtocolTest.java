package dev.dyad.engine.epoch;

import static dev.dyad.engine.epoch.StandbyBench.BASELINE;
import static dev.dyad.engine.epoch.StandbyBench.CONFIG;
import static dev.dyad.engine.epoch.StandbyBench.GENERATION;
import static dev.dyad.engine.epoch.StandbyBench.LINK;
import static dev.dyad.engine.epoch.StandbyBench.in;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

final class StandbyProtocolTest {

  private static void assertState(StandbyState expected, StandbyBench bench) {
    assertEquals(expected, bench.standby.state());
  }

  @Nested
  final class Receiving {
    @Test
    void shouldTakeABaselineAndTellThatNothingIsWholeYet() {
      StandbyBench bench = in(StandbyState.WAITING);
      bench.standby.onConnected(LINK, GENERATION, BASELINE, bench.now);
      bench.log.expect("acceptBaseline 1 7 5", "report 1 7 0 " + PrimaryProtocol.NO_STAMP);
      assertState(StandbyState.RECEIVING, bench);
    }

    @Test
    void shouldAcknowledgeTheBaselineOnceItIsWhole() {
      StandbyBench bench = in(StandbyState.RECEIVING);
      bench.whole(BASELINE);
      bench.log.expect("ready 5", "report 1 7 5 5000", "apply 5");
      assertState(StandbyState.READY, bench);
    }

    @Test
    void shouldRefuseAnythingElseAsABaseline() {
      StandbyBench bench = in(StandbyState.RECEIVING);
      bench.whole(BASELINE + 1);
      bench.log.expect("endLink 1 EPOCH_GAP", "dropReplica BASELINE_INCOMPLETE");
      assertState(StandbyState.STOOD_DOWN, bench);
    }

    @Test
    void shouldAcknowledgeBeforeItApplies() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE + 1);
      bench.log.expect("report 1 7 6 6000", "apply 6");
      bench.whole(BASELINE + 2);
      bench.log.expect("report 1 7 7 7000");
      bench.standby.onApplied(BASELINE + 1, bench.now);
      bench.log.expect("apply 7");
    }

    @Test
    void shouldWithholdAcknowledgementsWhileTooManyEpochsWaitToBeApplied() {
      StandbyBench bench = in(StandbyState.READY);
      long last = BASELINE + EpochConfig.APPLY_BACKLOG_EPOCHS_MAX;
      for (long epoch = BASELINE + 1; epoch <= last; epoch++) {
        bench.whole(epoch);
        assertTrue(bench.log.has("report 1 7 " + epoch + " " + StandbyBench.stamp(epoch)));
      }
      bench.log.forget();
      bench.whole(last + 1);
      bench.log.expect("report 1 7 " + last + " " + StandbyBench.stamp(last + 1));
      bench.standby.onApplied(BASELINE + 1, bench.now);
      bench.log.expect("report 1 7 " + (last + 1) + " " + StandbyBench.stamp(last + 1), "apply 7");
    }

    @Test
    void shouldEndTheLinkOnAGapInTheEpochs() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE + 2);
      bench.log.expect("endLink 1 EPOCH_GAP", "discardAfter 5");
      assertState(StandbyState.CUT_OFF, bench);
    }

    @Test
    void shouldEndTheLinkOnARepeatedEpoch() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE);
      bench.log.expect("endLink 1 EPOCH_GAP", "discardAfter 5");
    }

    @Test
    void shouldEndTheLinkOnAnotherGeneration() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onEpochWhole(LINK, GENERATION + 1, BASELINE + 1, 0, bench.now);
      bench.log.expect("endLink 1 WRONG_GENERATION", "discardAfter 5");
    }

    @Test
    void shouldEchoTheNewestSendTimeOnly() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onStamp(LINK, GENERATION, 9_000, bench.now);
      bench.log.expect("report 1 7 5 9000");
      bench.standby.onStamp(LINK, GENERATION, 8_000, bench.now);
      bench.log.expect("report 1 7 5 9000");
    }

    @Test
    void shouldRepeatItsReportOnceAHeartbeat() {
      StandbyBench bench = in(StandbyState.READY);
      bench.pass(CONFIG.heartbeatNanos() - 1);
      bench.log.expect();
      bench.pass(1);
      bench.log.expect("report 1 7 5 5000");
    }

    @Test
    void shouldRefuseAPrimaryOfAnOlderGeneration() {
      StandbyBench bench = in(StandbyState.STOOD_DOWN);
      bench.standby.onReplicaDropped(bench.now);
      bench.standby.onConnected(2, GENERATION, BASELINE, bench.now);
      bench.log.expect("endLink 2 STALE_GENERATION");
      bench.standby.onConnected(3, GENERATION + 1, 20, bench.now);
      assertTrue(bench.log.hasAny("acceptBaseline"));
    }

    @Test
    void shouldRefuseASecondPrimaryOfTheSameGeneration() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onConnected(2, GENERATION, BASELINE, bench.now);
      bench.log.expect("endLink 2 BUSY");
      assertState(StandbyState.READY, bench);
    }

    @Test
    void shouldStopReplicationWhenAnotherEpochWasAppliedThanAskedFor() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE + 1);
      assertThrows(ProtocolViolation.class, () -> bench.standby.onApplied(BASELINE + 2, bench.now()));
      assertThrows(ProtocolViolation.class, () -> bench.standby.onTick(bench.now()));
    }
  }

  @Nested
  final class LosingThePrimary {
    @Test
    void shouldNotContendWithoutABaseline() {
      StandbyBench bench = in(StandbyState.RECEIVING);
      bench.standby.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.expect("dropReplica BASELINE_INCOMPLETE");
      bench.standby.onReplicaDropped(bench.now);
      bench.pass(3 * CONFIG.detectorNanos());
      bench.log.expect();
      assertState(StandbyState.WAITING, bench);
    }

    @Test
    void shouldHaveMorePatienceWhileTheBaselineComes() {
      StandbyBench bench = in(StandbyState.RECEIVING);
      bench.pass(CONFIG.syncingDetectorNanos() - 1);
      assertState(StandbyState.RECEIVING, bench);
      bench.log.forget();
      bench.pass(1);
      bench.log.expect("endLink 1 SILENT", "dropReplica BASELINE_INCOMPLETE");
    }

    @Test
    void shouldThrowAwayAPartialEpochWithTheLink() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onLinkLost(LINK, LinkEnd.CORRUPT, bench.now);
      bench.log.expect("discardAfter 5");
      assertState(StandbyState.CUT_OFF, bench);
    }

    @Test
    void shouldWaitOutTheBoundSinceTheLastReceiptEvenWhenTheLinkIsClosed() {
      StandbyBench bench = in(StandbyState.READY);
      long heard = bench.now;
      bench.standby.onHeard(LINK, heard);
      bench.pass(CONFIG.heartbeatNanos());
      bench.standby.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.forget();
      bench.pass(heard + CONFIG.detectorNanos() - 1 - bench.now);
      bench.log.expect();
      bench.pass(1);
      bench.log.expect("requestGeneration 8");
      assertState(StandbyState.ARBITRATING, bench);
    }

    @Test
    void shouldEndASilentLinkBeforeItAsks() {
      StandbyBench bench = in(StandbyState.READY);
      bench.pass(CONFIG.detectorNanos() - 1);
      assertState(StandbyState.READY, bench);
      bench.log.forget();
      bench.pass(1);
      bench.log.expect("endLink 1 SILENT", "discardAfter 5", "requestGeneration 8");
    }

    @Test
    void shouldNotHoldItsOwnSleepAgainstThePrimary() {
      StandbyBench bench = in(StandbyState.READY);
      bench.now += 3 * CONFIG.detectorNanos();
      bench.standby.onTick(bench.now);
      assertState(StandbyState.READY, bench);
    }

    @Test
    void shouldAcknowledgeNothingOnceItHasAsked() {
      StandbyBench bench = in(StandbyState.ARBITRATING);
      bench.whole(BASELINE + 1);
      bench.pass(CONFIG.heartbeatNanos() * 2);
      assertFalse(bench.log.hasAny("report"), bench.log.toString());
      assertEquals(BASELINE, bench.standby.wholeEpoch());
    }

    @Test
    void shouldPromoteFromTheNewestWholeEpoch() {
      StandbyBench bench = in(StandbyState.ARBITRATING);
      bench.standby.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("promote 8 5");
      assertState(StandbyState.PROMOTED, bench);
    }

    @Test
    void shouldPromoteOnlyAfterEveryWholeEpochIsApplied() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE + 1);
      bench.whole(BASELINE + 2);
      bench.standby.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.pass(CONFIG.detectorNanos());
      bench.log.forget();
      bench.standby.onGranted(GENERATION + 1, bench.now);
      bench.log.expect();
      bench.standby.onApplied(BASELINE + 1, bench.now);
      bench.log.expect("apply 7");
      bench.standby.onApplied(BASELINE + 2, bench.now);
      bench.log.expect("promote 8 7");
    }

    @Test
    void shouldGiveUpItsStateWhenItHasLost() {
      StandbyBench bench = in(StandbyState.ARBITRATING);
      bench.standby.onDenied(GENERATION + 1, bench.now);
      bench.log.expect("dropReplica LOST_ARBITRATION");
      assertState(StandbyState.STOOD_DOWN, bench);
      bench.standby.onReplicaDropped(bench.now);
      assertState(StandbyState.WAITING, bench);
    }

    @Test
    void shouldAskAgainAfterAPauseWhenTheArbiterIsUnreachable() {
      StandbyBench bench = in(StandbyState.ARBITRATING);
      bench.standby.onArbiterUnreachable(GENERATION + 1, bench.now);
      bench.pass(CONFIG.askAgainNanos() - 1);
      bench.log.expect();
      bench.pass(1);
      bench.log.expect("requestGeneration 8");
    }

    @Test
    void shouldGiveUpWhenThePrimaryComesBackWithTheGenerationThatWasWanted() {
      StandbyBench bench = in(StandbyState.ARBITRATING);
      bench.standby.onArbiterUnreachable(GENERATION + 1, bench.now);
      bench.standby.onConnected(2, GENERATION + 1, 9, bench.now);
      bench.log.expect("endLink 2 NOT_NOW", "dropReplica SUPERSEDED");
    }

    @Test
    void shouldGiveUpAnOldReplicaWhenAPrimaryOfANewerGenerationComes() {
      StandbyBench bench = in(StandbyState.CUT_OFF);
      bench.standby.onConnected(2, GENERATION + 1, 9, bench.now);
      bench.log.expect("endLink 2 NOT_NOW", "dropReplica SUPERSEDED");
      bench.standby.onReplicaDropped(bench.now);
      bench.standby.onConnected(3, GENERATION + 1, 9, bench.now);
      assertState(StandbyState.RECEIVING, bench);
    }

    @Test
    void shouldKeepItsReplicaWhenAPrimaryOfTheSameGenerationComesWhileCutOff() {
      StandbyBench bench = in(StandbyState.CUT_OFF);
      bench.standby.onConnected(2, GENERATION, 9, bench.now);
      bench.log.expect("endLink 2 NOT_NOW");
      assertState(StandbyState.CUT_OFF, bench);
    }

    @Test
    void shouldWaitWithDroppingUntilAnApplyIsDone() {
      StandbyBench bench = in(StandbyState.READY);
      bench.whole(BASELINE + 1);
      bench.standby.onGoodbye(LINK, Goodbye.DETACH, BASELINE + 1, bench.now);
      assertThrows(ProtocolViolation.class, () -> bench.standby.onReplicaDropped(bench.now()));
    }
  }

  @Nested
  final class Leaving {
    @Test
    void shouldGiveUpItsStateBeforeItAnswersAPrimaryThatDetaches() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onGoodbye(LINK, Goodbye.DETACH, BASELINE, bench.now);
      bench.log.expect("dropReplica PRIMARY_LEFT");
      bench.standby.onReplicaDropped(bench.now);
      bench.log.expect("sayGoodbye 1", "endLink 1 GOODBYE");
      assertState(StandbyState.WAITING, bench);
    }

    @Test
    void shouldAskAtOnceOnAHandoverAndKeepTheLinkUntilTheVerdict() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onGoodbye(LINK, Goodbye.HANDOVER, BASELINE, bench.now);
      bench.log.expect("requestGeneration 8");
      bench.standby.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("endLink 1 PROMOTED", "promote 8 5");
    }

    @Test
    void shouldNotTakeOverFromAnotherEpochThanTheHandoverNames() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onGoodbye(LINK, Goodbye.HANDOVER, BASELINE + 1, bench.now);
      bench.log.expect("endLink 1 EPOCH_GAP", "discardAfter 5");
      assertState(StandbyState.CUT_OFF, bench);
    }

    @Test
    void shouldSayGoodbyeOnlyAfterItsStateIsGone() {
      StandbyBench bench = in(StandbyState.READY);
      bench.standby.onStop(bench.now);
      bench.log.expect("dropReplica STANDBY_LEAVES");
      bench.standby.onReplicaDropped(bench.now);
      bench.log.expect("sayGoodbye 1", "endLink 1 GOODBYE", "stopped");
      assertState(StandbyState.STOPPED, bench);
    }

    @Test
    void shouldNotStopBeforeTheArbiterHasDecidedWhenTheGuestMayBeNowhereElse() {
      StandbyBench bench = in(StandbyState.CUT_OFF);
      bench.standby.onStop(bench.now);
      bench.log.expect();
      bench.pass(CONFIG.detectorNanos());
      bench.log.expect("requestGeneration 8");
      bench.standby.onDenied(GENERATION + 1, bench.now);
      bench.standby.onReplicaDropped(bench.now);
      bench.log.expect("dropReplica LOST_ARBITRATION", "stopped");
    }

    @Test
    void shouldStopAtOnceWhileItHoldsNothing() {
      StandbyBench bench = in(StandbyState.WAITING);
      bench.standby.onStop(bench.now);
      bench.log.expect("stopped");
    }
  }
}
