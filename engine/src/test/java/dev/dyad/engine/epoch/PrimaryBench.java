package dev.dyad.engine.epoch;

/** A primary with its log and a clock, and the shortest way into each state. */
final class PrimaryBench {
  static final long MS = 1_000_000;
  static final EpochConfig CONFIG = new EpochConfig(10 * MS, 2, true, 100 * MS, 10 * MS, 12 * MS, 400 * MS, 50 * MS, 300 * MS);
  static final long LINK = 1;
  static final long GENERATION = 7;

  final ActionLog log = new ActionLog();
  final PrimaryProtocol primary = new PrimaryProtocol(CONFIG, log.recorder(PrimaryActions.class));
  /** Begins shortly before it wraps around. */
  long now = Long.MAX_VALUE - 20 * MS;

  static PrimaryBench in(PrimaryState state) {
    PrimaryBench bench = new PrimaryBench();
    switch (state) {
      case NEW -> {}
      case STARTING -> bench.primary.onStart(GENERATION, 1, bench.now);
      case ALONE -> {
        bench.primary.onStart(GENERATION, 1, bench.now);
        bench.primary.onGranted(GENERATION, bench.now);
      }
      case SYNCING -> {
        bench = in(PrimaryState.ALONE);
        bench.primary.onStandbyConnected(LINK, bench.now);
      }
      case JOINING -> {
        bench = in(PrimaryState.SYNCING);
        bench.primary.onBaselineLevel(LINK, bench.now);
        bench.primary.onSealed(1, bench.now);
      }
      case PROTECTED -> {
        bench = in(PrimaryState.JOINING);
        bench.ack(1);
      }
      case LEAVING -> {
        bench = in(PrimaryState.PROTECTED);
        bench.primary.onDetach(bench.now);
      }
      case HANDING_OVER -> {
        bench = in(PrimaryState.PROTECTED);
        bench.primary.onHandover(bench.now);
        bench.primary.onSealed(2, bench.now);
      }
      case ARBITRATING -> {
        bench = in(PrimaryState.PROTECTED);
        bench.primary.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      }
      case FENCED -> {
        bench = in(PrimaryState.ARBITRATING);
        bench.primary.onDenied(GENERATION + 1, bench.now);
      }
      case STOPPED -> {
        bench = in(PrimaryState.ALONE);
        bench.primary.onDetach(bench.now);
      }
    }
    bench.log.forget();
    return bench;
  }

  /** An acknowledgement whose echo is as new as can be. */
  void ack(long epoch) {
    primary.onAck(LINK, GENERATION, epoch, now, now);
  }

  void alive() {
    primary.onAck(LINK, GENERATION, primary.ackedEpoch(), PrimaryProtocol.NO_STAMP, now);
  }

  /** Time goes by in steps of a heartbeat, with a tick at each. */
  void pass(long nanos) {
    for (long left = nanos; left > 0; left -= CONFIG.heartbeatNanos()) {
      now += Math.min(left, CONFIG.heartbeatNanos());
      primary.onTick(now);
    }
  }

  /** Ends the open epoch by its timer and answers the seal. */
  void sealNext() {
    now += CONFIG.periodNanos();
    primary.onTick(now);
    primary.onSealed(primary.openEpoch(), now);
  }

  long now() {
    return now;
  }
}
