package dev.dyad.engine.epoch.sim;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryActions;
import dev.dyad.engine.epoch.StandbyActions;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import org.junit.jupiter.api.Test;

/** Breaks the protocol in one place at a time; the checker must object, and by the right rule. */
final class RulesCatchMutationsSim {
  private static final int SEEDS = 150;
  private static final int EPOCHS = 500;

  // ---- rule 1

  @Test
  void shouldObjectWhenAnEpochIsReleasedBeforeItsAcknowledgement() {
    shouldBeCaught(Rule.OUTPUT_COMMIT, new Mutation() {
      @Override
      PrimaryActions primary(PrimaryActions actions) {
        return replace(PrimaryActions.class, actions, "release", args -> actions.release((long) args[0] + 1));
      }
    });
  }

  @Test
  void shouldObjectWhenOutputIsNotHeldFromTheBaselineOn() {
    shouldBeCaught(Rule.OUTPUT_COMMIT, new Mutation() {
      @Override
      PrimaryActions primary(PrimaryActions actions) {
        return replace(PrimaryActions.class, actions, "holdOutputFrom", args -> {});
      }
    });
  }

  @Test
  void shouldObjectWhenOutputIsHeldOneEpochLate() {
    shouldBeCaught(Rule.OUTPUT_COMMIT, new Mutation() {
      @Override
      PrimaryActions primary(PrimaryActions actions) {
        return replace(PrimaryActions.class, actions, "holdOutputFrom", args -> actions.holdOutputFrom((long) args[0] + 1));
      }
    });
  }

  @Test
  void shouldObjectWhenAnyAcknowledgementCountsForAllThatWasSealed() {
    shouldBeCaught(Rule.OUTPUT_COMMIT, new Mutation() {
      @Override
      long acknowledged(long epoch, long sealedEpoch) {
        return epoch > 0 ? sealedEpoch : epoch;
      }
    });
  }

  // ---- rule 2

  @Test
  void shouldObjectWhenATornEpochIsResumedFrom() {
    shouldBeCaught(Rule.EXACT_RESUME, new Mutation() {
      @Override
      boolean promotesTornEpoch() {
        return true;
      }
    });
  }

  @Test
  void shouldObjectWhenAWholeEpochIsNotApplied() {
    shouldBeCaught(Rule.EXACT_RESUME, new Mutation() {
      @Override
      boolean applies(long epoch) {
        return epoch % 50 != 0;
      }
    });
  }

  // ---- rule 3

  @Test
  void shouldObjectWhenADeniedPrimaryGoesOn() {
    shouldBeCaught(Rule.ONE_RUNNER, grantsAll());
  }

  @Test
  void shouldObjectWhenAnOldAcknowledgementCountsAsFresh() {
    shouldBeCaught(Rule.ONE_RUNNER, new Mutation() {
      @Override
      long echo(long echoedNanos, long nowNanos) {
        return nowNanos;
      }
    });
  }

  @Test
  void shouldObjectWhenTheStandbyAsksBeforeTheLeaseIsOver() {
    shouldBeCaught(Rule.ONE_RUNNER, new Mutation() {
      @Override
      EpochConfig standbyConfig(EpochConfig c) {
        long sooner = c.detectorNanos() * 3 / 4;
        return new EpochConfig(c.periodNanos(), c.window(), c.adaptive(), sooner, c.leaseMarginNanos(), c.heartbeatNanos(),
            c.commitNanosMax(), c.askAgainNanos(), c.undecidedRunNanos());
      }
    });
  }

  @Test
  void shouldObjectWhenOutputPassesWhileTheArbiterIsStillAsked() {
    shouldBeCaught(Rule.ONE_RUNNER, new Mutation() {
      @Override
      PrimaryActions primary(PrimaryActions actions) {
        return replace(PrimaryActions.class, actions, "unprotected", args -> actions.passOutput());
      }
    });
  }

  @Test
  void shouldLetTheClientSeeWhenTwoGuestsAnswer() {
    shouldBeCaught(Rule.LINEAR_HISTORY, new Mutation() {
      @Override
      boolean checksInside() {
        return false;
      }

      @Override
      SimArbiter.Verdict verdict(SimArbiter.Verdict verdict) {
        return grantsAll().verdict(verdict);
      }
    });
  }

  private static Mutation grantsAll() {
    return new Mutation() {
      @Override
      SimArbiter.Verdict verdict(SimArbiter.Verdict verdict) {
        return verdict == SimArbiter.Verdict.DENIED ? SimArbiter.Verdict.GRANTED : verdict;
      }
    };
  }

  // ---- rule 4

  @Test
  void shouldObjectWhenTheCrcOfAFrameIsNotChecked() {
    shouldBeCaught(Rule.NO_SILENT_LOSS, new Mutation() {
      @Override
      boolean checksCrc() {
        return false;
      }
    });
  }

  @Test
  void shouldObjectWhenAnEpochWithMissingRecordsCountsAsWhole() {
    shouldBeCaught(Rule.NO_SILENT_LOSS, new Mutation() {
      @Override
      boolean checksEpochSum() {
        return false;
      }
    });
  }

  // ---- rule 5

  @Test
  void shouldObjectWhenOnlyTheFirstStandbyIsBroughtLevel() {
    shouldBeCaught(Rule.PROTECTION_RETURNS, new Mutation() {
      private int baselines;

      @Override
      PrimaryActions primary(PrimaryActions actions) {
        return replace(PrimaryActions.class, actions, "startBaseline", args -> {
          if (baselines++ == 0) {
            actions.startBaseline((long) args[0], (long) args[1]);
          }
        });
      }
    });
  }

  @Test
  void shouldObjectWhenAStandbyThatLostNeverComesBack() {
    shouldBeCaught(Rule.PROTECTION_RETURNS, new Mutation() {
      @Override
      StandbyActions standby(StandbyActions actions) {
        return replace(StandbyActions.class, actions, "dropReplica", args -> {});
      }
    });
  }

  @Test
  void shouldObjectWhenTheStandbyGivesUpItsStateWithItsLink() {
    shouldBeCaught(Rule.PROTECTION_RETURNS, new Mutation() {
      @Override
      StandbyActions standby(StandbyActions actions) {
        return replace(StandbyActions.class, actions, "requestGeneration", args -> {});
      }
    });
  }

  // ---- how

  private interface Replacement {
    void call(Object[] args);
  }

  private static <T> T replace(Class<T> type, T actual, String method, Replacement replacement) {
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, called, args) -> {
      if (called.getName().equals(method)) {
        replacement.call(args);
        return null;
      }
      try {
        return called.invoke(actual, args);
      } catch (InvocationTargetException thrown) {
        throw thrown.getCause();
      }
    }));
  }

  private static void shouldBeCaught(Rule rule, Mutation mutation) {
    for (long seed = 1; seed <= SEEDS; seed++) {
      try {
        new World(seed, mutation, false).run(EPOCHS);
      } catch (RuleBroken broken) {
        assertEquals(rule, broken.rule(), broken.getMessage());
        System.out.println("caught at seed " + seed + ": " + broken.getMessage());
        return;
      }
    }
    fail("nothing noticed in " + SEEDS + " seeds");
  }
}
