package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryActions;
import dev.dyad.engine.epoch.StandbyActions;

/** Places at which a test may break the protocol on purpose; without an override nothing is broken. */
class Mutation {
  PrimaryActions primary(PrimaryActions actions) {
    return actions;
  }

  StandbyActions standby(StandbyActions actions) {
    return actions;
  }

  EpochConfig primaryConfig(EpochConfig config) {
    return config;
  }

  EpochConfig standbyConfig(EpochConfig config) {
    return config;
  }

  /** Whether the checker looks inside the hosts, or leaves it all to the client outside. */
  boolean checksInside() {
    return true;
  }

  /** The echoed send time as the primary takes it. */
  long echo(long echoedNanos, long nowNanos) {
    return echoedNanos;
  }

  /** The acknowledged epoch as the primary takes it. */
  long acknowledged(long epoch, long sealedEpoch) {
    return epoch;
  }

  SimArbiter.Verdict verdict(SimArbiter.Verdict verdict) {
    return verdict;
  }

  boolean checksCrc() {
    return true;
  }

  boolean checksEpochSum() {
    return true;
  }

  boolean applies(long epoch) {
    return true;
  }

  /** Whether a promotion takes along what has come of the epoch that is not whole. */
  boolean promotesTornEpoch() {
    return false;
  }
}
