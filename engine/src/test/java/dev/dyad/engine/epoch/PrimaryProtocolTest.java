package dev.dyad.engine.epoch;

import static dev.dyad.engine.epoch.PrimaryBench.CONFIG;
import static dev.dyad.engine.epoch.PrimaryBench.GENERATION;
import static dev.dyad.engine.epoch.PrimaryBench.LINK;
import static dev.dyad.engine.epoch.PrimaryBench.MS;
import static dev.dyad.engine.epoch.PrimaryBench.in;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

final class PrimaryProtocolTest {

  private static void assertState(PrimaryState expected, PrimaryBench bench) {
    assertEquals(expected, bench.primary.state());
  }

  @Nested
  final class Starting {
    @Test
    void shouldAskForItsGenerationBeforeAnythingElse() {
      PrimaryBench bench = new PrimaryBench();
      bench.primary.onStart(GENERATION, 1, bench.now);
      bench.log.expect("requestGeneration 7");
      assertState(PrimaryState.STARTING, bench);
    }

    @Test
    void shouldNotCountAGenerationAsHeldBeforeItIsWon() {
      PrimaryBench bench = in(PrimaryState.STARTING);
      assertEquals(GENERATION - 1, bench.primary.generation());
      bench.primary.onGranted(GENERATION, bench.now);
      assertEquals(GENERATION, bench.primary.generation());
    }

    @Test
    void shouldLetOutputPassOnceGranted() {
      PrimaryBench bench = in(PrimaryState.STARTING);
      bench.primary.onGranted(GENERATION, bench.now);
      bench.log.expect("passOutput", "unprotected NO_STANDBY_YET");
      assertState(PrimaryState.ALONE, bench);
    }

    @Test
    void shouldFenceItselfWhenDenied() {
      PrimaryBench bench = in(PrimaryState.STARTING);
      bench.primary.onDenied(GENERATION, bench.now);
      bench.log.expect("fence DENIED_AT_START");
      assertState(PrimaryState.FENCED, bench);
    }

    @Test
    void shouldAskAgainAfterAPauseWhenTheArbiterIsUnreachable() {
      PrimaryBench bench = in(PrimaryState.STARTING);
      bench.primary.onArbiterUnreachable(GENERATION, bench.now);
      bench.pass(CONFIG.askAgainNanos() - 1);
      bench.log.expect();
      bench.pass(1);
      bench.log.expect("requestGeneration 7");
    }

    @Test
    void shouldNotLetOutputPassWhenDetachedBeforeTheVerdict() {
      PrimaryBench bench = in(PrimaryState.STARTING);
      bench.primary.onDetach(bench.now);
      bench.log.expect();
      bench.primary.onGranted(GENERATION, bench.now);
      bench.log.expect("passOutput", "detached");
      assertState(PrimaryState.STOPPED, bench);
    }

    @Test
    void shouldNeedNoArbiterAfterAPromotion() {
      PrimaryBench bench = new PrimaryBench();
      bench.primary.onPromoted(9, 42, bench.now);
      bench.log.expect("passOutput", "unprotected TOOK_OVER");
      assertState(PrimaryState.ALONE, bench);
      bench.primary.onStandbyConnected(1, bench.now);
      bench.log.expect("startBaseline 1 42");
    }
  }

  @Nested
  final class BringingAStandbyLevel {
    @Test
    void shouldStartABaselineInTheOpenEpoch() {
      PrimaryBench bench = in(PrimaryState.ALONE);
      bench.primary.onStandbyConnected(LINK, bench.now);
      bench.log.expect("startBaseline 1 1");
      assertState(PrimaryState.SYNCING, bench);
    }

    @Test
    void shouldEndNoEpochAndHoldNothingWhileTheBaselineTravels() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.primary.onOutputWaiting(bench.now);
      bench.primary.onEpochFull(bench.now);
      bench.now += 5 * MS;
      bench.primary.onTick(bench.now);
      bench.log.expect();
    }

    @Test
    void shouldGoAloneAtOnceWhenTheStandbyIsLostBeforeTheBaselineWasSealed() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.expect("passOutput", "unprotected STANDBY_LOST");
      assertState(PrimaryState.ALONE, bench);
      assertEquals(GENERATION, bench.primary.generation());
    }

    @Test
    void shouldHoldOutputFromTheSealOfTheBaselineOn() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.primary.onBaselineLevel(LINK, bench.now);
      bench.log.expect("holdOutputFrom 2", "seal 1 true");
      bench.primary.onSealed(1, bench.now);
      bench.log.expect("ship 1 1 " + bench.now);
      assertState(PrimaryState.JOINING, bench);
    }

    @Test
    void shouldCountAsProtectedOnlyOnceTheBaselineIsAcknowledged() {
      PrimaryBench bench = in(PrimaryState.JOINING);
      bench.ack(PrimaryProtocol.NO_EPOCH);
      assertState(PrimaryState.JOINING, bench);
      bench.log.expect();
      bench.ack(1);
      bench.log.expect("protectedFrom 1", "release 1");
      assertState(PrimaryState.PROTECTED, bench);
    }

    @Test
    void shouldAskTheArbiterWhenTheLinkIsLostBetweenSealAndAcknowledgementOfTheBaseline() {
      PrimaryBench bench = in(PrimaryState.JOINING);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.expect("unprotected STANDBY_LOST", "requestGeneration 8");
      assertState(PrimaryState.ARBITRATING, bench);
    }

    @Test
    void shouldRefuseASecondStandby() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onStandbyConnected(2, bench.now);
      bench.log.expect("endLink 2 BUSY");
      assertState(PrimaryState.PROTECTED, bench);
    }

    @Test
    void shouldRefuseAnAcknowledgementOfTheBaselineBeforeItsSeal() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.ack(1);
      bench.log.expect("endLink 1 ACK_OF_UNSENT", "passOutput", "unprotected STANDBY_LOST");
    }
  }

  @Nested
  final class EndingEpochs {
    @Test
    void shouldEndAnEpochOnItsTimer() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.now += CONFIG.periodNanos() - 1;
      bench.primary.onTick(bench.now);
      bench.log.expect();
      bench.now++;
      bench.primary.onTick(bench.now);
      bench.log.expect("seal 2 true");
    }

    @Test
    void shouldEndAnEpochWhenTheStagingRingIsFull() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onEpochFull(bench.now);
      bench.log.expect("seal 2 true");
    }

    @Test
    void shouldEndAnEpochAsSoonAsOutputWaitsAndNoCommitIsUnderWay() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onOutputWaiting(bench.now);
      bench.log.expect("seal 2 true");
      bench.primary.onSealed(2, bench.now);
      bench.log.forget();
      bench.primary.onOutputWaiting(bench.now);
      bench.log.expect();
      bench.ack(2);
      bench.log.expect("release 2", "seal 3 true");
    }

    @Test
    void shouldWaitForTheTimerWhenNotAdaptive() {
      EpochConfig fixed = new EpochConfig(10 * MS, 2, false, 100 * MS, 10 * MS, 12 * MS, 400 * MS, 50 * MS, 300 * MS);
      ActionLog log = new ActionLog();
      PrimaryProtocol primary = new PrimaryProtocol(fixed, log.recorder(PrimaryActions.class));
      primary.onPromoted(1, 1, 0);
      primary.onStandbyConnected(1, 0);
      primary.onBaselineLevel(1, 0);
      primary.onSealed(1, 0);
      primary.onAck(1, 1, 1, 0, 0);
      log.forget();
      primary.onOutputWaiting(MS);
      log.expect();
      primary.onTick(10 * MS);
      log.expect("seal 2 true");
    }

    @Test
    void shouldHaveNoMoreEpochsInFlightThanTheWindow() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      bench.sealNext();
      bench.log.forget();
      assertEquals(2, bench.primary.epochsInFlight());
      bench.now += CONFIG.periodNanos();
      bench.primary.onEpochFull(bench.now);
      assertFalse(bench.log.hasAny("seal"), bench.log.toString());
      bench.ack(2);
      bench.log.expect("release 2", "seal 4 true");
    }

    @Test
    void shouldStopReplicationWhenAnythingComesBetweenSealAndItsAnswer() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onEpochFull(bench.now);
      assertThrows(ProtocolViolation.class, () -> bench.primary.onTick(bench.now()));
      assertThrows(ProtocolViolation.class, () -> bench.primary.onSealed(2, bench.now()));
    }

    @Test
    void shouldStopReplicationWhenAnotherEpochIsSealedThanAskedFor() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onEpochFull(bench.now);
      assertThrows(ProtocolViolation.class, () -> bench.primary.onSealed(3, bench.now()));
    }
  }

  @Nested
  final class Releasing {
    @Test
    void shouldReleaseNothingWhenAckIsMissing() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      bench.log.forget();
      bench.ack(1);
      bench.alive();
      assertFalse(bench.log.hasAny("release"), bench.log.toString());
      bench.ack(2);
      assertTrue(bench.log.has("release 2"));
    }

    @Test
    void shouldReleaseAllUpToACumulativeAcknowledgement() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      bench.sealNext();
      bench.log.forget();
      bench.ack(3);
      bench.log.expect("release 3");
    }

    @Test
    void shouldTakeALateOrRepeatedAcknowledgementForNothingNew() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      bench.ack(2);
      bench.log.forget();
      bench.ack(1);
      bench.ack(2);
      bench.log.expect();
      assertEquals(2, bench.primary.ackedEpoch());
    }

    @Test
    void shouldReleaseNothingOnOldAcknowledgementsAfterASleep() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      long sent = bench.now;
      bench.log.forget();
      bench.now = sent + CONFIG.leaseNanos();
      bench.primary.onAck(LINK, GENERATION, 2, sent, bench.now);
      bench.log.expect("seal 3 true");
      assertEquals(1, bench.primary.releasedEpoch());
    }

    @Test
    void shouldReleaseUpToTheLastNanosecondOfTheLease() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      long sent = bench.now;
      bench.log.forget();
      bench.now = sent + CONFIG.leaseNanos() - 1;
      bench.primary.onAck(LINK, GENERATION, 2, sent, bench.now);
      assertTrue(bench.log.has("release 2"));
    }

    @Test
    void shouldReleaseWhatWasAcknowledgedOnceAFreshEchoComes() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      long sent = bench.now;
      bench.now = sent + CONFIG.leaseNanos();
      bench.primary.onAck(LINK, GENERATION, 2, sent, bench.now);
      bench.primary.onSealed(3, bench.now);
      bench.log.forget();
      bench.primary.onAck(LINK, GENERATION, 2, bench.now - MS, bench.now);
      bench.log.expect("release 2");
    }

    @Test
    void shouldEndTheLinkOnAnAcknowledgementOfWhatWasNeverSent() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.ack(2);
      bench.log.expect("endLink 1 ACK_OF_UNSENT", "unprotected STANDBY_LOST", "requestGeneration 8");
    }

    @Test
    void shouldEndTheLinkOnAnotherGeneration() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onAck(LINK, GENERATION - 1, 1, bench.now, bench.now);
      bench.log.expect("endLink 1 WRONG_GENERATION", "unprotected STANDBY_LOST", "requestGeneration 8");
    }

    @Test
    void shouldEndTheLinkOnAnEchoFromTheFuture() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onAck(LINK, GENERATION, 1, bench.now + 1, bench.now);
      bench.log.expect("endLink 1 ECHO_FROM_FUTURE", "unprotected STANDBY_LOST", "requestGeneration 8");
    }

    @Test
    void shouldDropWhatComesFromALinkThatHasEnded() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.ack(1);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.expect();
      assertEquals(2, bench.primary.staleEvents());
    }
  }

  @Nested
  final class LosingTheStandby {
    @Test
    void shouldGiveUpAStandbyThatIsSilentForTheBound() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      long heard = bench.now;
      bench.ack(2);
      while (bench.primary.state() == PrimaryState.PROTECTED && bench.now - heard < 2 * CONFIG.detectorNanos()) {
        bench.now += MS;
        bench.primary.onTick(bench.now);
        if (bench.log.has("seal " + bench.primary.openEpoch() + " true")) {
          bench.primary.onSealed(bench.primary.openEpoch(), bench.now);
        }
      }
      assertState(PrimaryState.ARBITRATING, bench);
      assertEquals(CONFIG.detectorNanos(), bench.now - heard);
      assertTrue(bench.log.has("endLink 1 SILENT"));
    }

    @Test
    void shouldHaveMorePatienceWhileTheBaselineIsSent() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.pass(CONFIG.syncingDetectorNanos() - 1);
      assertState(PrimaryState.SYNCING, bench);
      bench.pass(1);
      assertState(PrimaryState.ALONE, bench);
      assertTrue(bench.log.has("endLink 1 SILENT"));
    }

    @Test
    void shouldNotHoldSilenceDuringTheBaselineAgainstAStandbyThatJoins() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.pass(CONFIG.syncingDetectorNanos() - 1);
      bench.primary.onBaselineLevel(LINK, bench.now);
      bench.primary.onSealed(1, bench.now);
      bench.pass(CONFIG.periodNanos() - 1);
      assertState(PrimaryState.JOINING, bench);
    }

    @Test
    void shouldSendItsTimeAtLeastOnceAHeartbeat() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.pass(CONFIG.heartbeatNanos() - 1);
      bench.log.expect();
      bench.pass(1);
      bench.log.expect("heartbeat 1 " + bench.now);
    }

    @Test
    void shouldNotHoldItsOwnSleepAgainstTheStandby() {
      PrimaryBench bench = in(PrimaryState.JOINING);
      bench.now += 3 * CONFIG.detectorNanos();
      bench.primary.onTick(bench.now);
      assertState(PrimaryState.JOINING, bench);
    }

    @Test
    void shouldGiveUpAStandbyThatLivesAndCommitsNothing() {
      PrimaryBench bench = in(PrimaryState.JOINING);
      long sealed = bench.now;
      while (bench.primary.state() == PrimaryState.JOINING) {
        bench.now += MS;
        bench.ack(PrimaryProtocol.NO_EPOCH);
        if (bench.log.has("seal 2 true")) {
          bench.primary.onSealed(2, bench.now);
          bench.log.forget();
        }
        bench.primary.onTick(bench.now);
      }
      assertEquals(CONFIG.commitNanosMax(), bench.now - sealed, 2 * CONFIG.periodNanos());
      assertTrue(bench.log.has("endLink 1 SLOW"));
      assertState(PrimaryState.ARBITRATING, bench);
    }

    @Test
    void shouldReleaseAllThatIsHeldInOrderOnceItHasWon() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("passOutput", "unprotected STANDBY_LOST");
      assertState(PrimaryState.ALONE, bench);
      assertEquals(GENERATION + 1, bench.primary.generation());
    }

    @Test
    void shouldFenceItselfWhenItHasLost() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onDenied(GENERATION + 1, bench.now);
      bench.log.expect("fence LOST_ARBITRATION");
      assertState(PrimaryState.FENCED, bench);
    }

    @Test
    void shouldNeitherReleaseNorGiveUpWhileTheArbiterIsUnreachable() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      for (int i = 0; i < 3; i++) {
        bench.primary.onArbiterUnreachable(GENERATION + 1, bench.now);
        bench.pass(CONFIG.askAgainNanos());
        bench.log.expect("requestGeneration 8");
      }
      assertState(PrimaryState.ARBITRATING, bench);
    }

    @Test
    void shouldPauseTheGuestWhenTheDecisionTakesTooLongAndResumeItAfterwards() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.pass(CONFIG.undecidedRunNanos());
      bench.log.expect("pauseGuest");
      bench.pass(CONFIG.undecidedRunNanos());
      bench.log.expect();
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("passOutput", "resumeGuest", "unprotected STANDBY_LOST");
    }

    @Test
    void shouldPauseTheGuestWhenNothingMoreCanBeHeldWhileUndecided() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onEpochFull(bench.now);
      bench.log.expect("pauseGuest");
    }

    @Test
    void shouldRefuseLinksWhileUndecided() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onStandbyConnected(2, bench.now);
      bench.log.expect("endLink 2 NOT_NOW");
    }

    @Test
    void shouldTakeANewStandbyFromScratchAfterwards() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.forget();
      bench.primary.onStandbyConnected(2, bench.now);
      bench.log.expect("startBaseline 2 2");
    }

    @Test
    void shouldGoAloneWithoutTheArbiterWhenTheStandbySaysGoodbye() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onGoodbye(LINK, bench.now);
      bench.log.expect("endLink 1 GOODBYE", "passOutput", "unprotected STANDBY_LEFT");
      assertState(PrimaryState.ALONE, bench);
      assertEquals(GENERATION, bench.primary.generation());
    }
  }

  @Nested
  final class Leaving {
    @Test
    void shouldHoldOutputUntilTheStandbyHasGivenUpItsState() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onDetach(bench.now);
      bench.log.expect("sayGoodbye 1 DETACH 1");
      bench.primary.onGoodbye(LINK, bench.now);
      bench.log.expect("endLink 1 GOODBYE", "passOutput", "detached");
      assertState(PrimaryState.STOPPED, bench);
    }

    @Test
    void shouldAskTheArbiterWhenTheStandbyDoesNotAnswerTheGoodbye() {
      PrimaryBench bench = in(PrimaryState.LEAVING);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.expect("unprotected STANDBY_LOST", "requestGeneration 8");
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("passOutput", "detached");
    }

    @Test
    void shouldDetachAtOnceWhileNobodyElseHoldsAnything() {
      PrimaryBench bench = in(PrimaryState.SYNCING);
      bench.primary.onDetach(bench.now);
      bench.log.expect("endLink 1 GOODBYE", "passOutput", "detached");
      assertState(PrimaryState.STOPPED, bench);
    }

    @Test
    void shouldWaitForTheVerdictWhenDetachedWhileUndecided() {
      PrimaryBench bench = in(PrimaryState.ARBITRATING);
      bench.primary.onDetach(bench.now);
      bench.log.expect();
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("passOutput", "detached");
    }
  }

  @Nested
  final class HandingOver {
    @Test
    void shouldStopTheGuestAtItsLastEpochAndSayGoodbyeOnlyWhenAllOutputHasLeft() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.primary.onHandover(bench.now);
      bench.log.expect("seal 2 false");
      bench.primary.onSealed(2, bench.now);
      bench.log.expect("ship 1 2 " + bench.now);
      bench.ack(2);
      bench.log.expect("release 2", "sayGoodbye 1 HANDOVER 2");
      assertState(PrimaryState.HANDING_OVER, bench);
    }

    @Test
    void shouldEndFencedWhenTheStandbyHasTakenOver() {
      PrimaryBench bench = in(PrimaryState.HANDING_OVER);
      bench.ack(2);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.forget();
      bench.primary.onDenied(GENERATION + 1, bench.now);
      bench.log.expect("fence HANDED_OVER");
    }

    @Test
    void shouldResumeTheGuestHereWhenTheStandbyDiesInstead() {
      PrimaryBench bench = in(PrimaryState.HANDING_OVER);
      bench.ack(2);
      bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      bench.log.forget();
      bench.primary.onGranted(GENERATION + 1, bench.now);
      bench.log.expect("passOutput", "resumeGuest", "unprotected STANDBY_LOST");
      assertState(PrimaryState.ALONE, bench);
    }

    @Test
    void shouldWaitForRoomInTheWindow() {
      PrimaryBench bench = in(PrimaryState.PROTECTED);
      bench.sealNext();
      bench.sealNext();
      bench.log.forget();
      bench.primary.onHandover(bench.now);
      bench.log.expect();
      bench.ack(2);
      bench.log.expect("release 2", "seal 4 false");
    }

    @Test
    void shouldResumeTheGuestWhenTheStandbyLeavesInstead() {
      PrimaryBench bench = in(PrimaryState.HANDING_OVER);
      bench.primary.onGoodbye(LINK, bench.now);
      bench.log.expect("endLink 1 GOODBYE", "passOutput", "resumeGuest", "unprotected STANDBY_LEFT");
    }
  }

  @Test
  void shouldSleepNoLongerThanTheNextThingThatIsDue() {
    PrimaryBench bench = in(PrimaryState.PROTECTED);
    assertEquals(CONFIG.periodNanos(), bench.primary.nanosUntilTick(bench.now));
    bench.now += CONFIG.periodNanos();
    assertEquals(0, bench.primary.nanosUntilTick(bench.now));
  }
}
