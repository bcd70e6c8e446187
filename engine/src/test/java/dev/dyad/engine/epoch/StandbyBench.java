package dev.dyad.engine.epoch;

/** A standby with its log and a clock, and the shortest way into each state. */
final class StandbyBench {
  static final EpochConfig CONFIG = PrimaryBench.CONFIG;
  static final long LINK = 1;
  static final long GENERATION = 7;
  static final long BASELINE = 5;

  final ActionLog log = new ActionLog();
  final StandbyProtocol standby = new StandbyProtocol(CONFIG, log.recorder(StandbyActions.class));
  long now = Long.MAX_VALUE - 20 * PrimaryBench.MS;

  static StandbyBench in(StandbyState state) {
    StandbyBench bench = new StandbyBench();
    switch (state) {
      case WAITING -> {}
      case RECEIVING -> bench.standby.onConnected(LINK, GENERATION, BASELINE, bench.now);
      case READY -> {
        bench = in(StandbyState.RECEIVING);
        bench.whole(BASELINE);
        bench.standby.onApplied(BASELINE, bench.now);
      }
      case CUT_OFF -> {
        bench = in(StandbyState.READY);
        bench.standby.onLinkLost(LINK, LinkEnd.CLOSED, bench.now);
      }
      case ARBITRATING -> {
        bench = in(StandbyState.CUT_OFF);
        bench.pass(CONFIG.detectorNanos());
      }
      case PROMOTING -> {
        bench = in(StandbyState.READY);
        bench.whole(BASELINE + 1);
        bench.standby.onGoodbye(LINK, Goodbye.HANDOVER, BASELINE + 1, bench.now);
        bench.standby.onGranted(GENERATION + 1, bench.now);
      }
      case PROMOTED -> {
        bench = in(StandbyState.ARBITRATING);
        bench.standby.onGranted(GENERATION + 1, bench.now);
      }
      case STOOD_DOWN -> {
        bench = in(StandbyState.ARBITRATING);
        bench.standby.onDenied(GENERATION + 1, bench.now);
      }
      case STOPPED -> bench.standby.onStop(bench.now);
    }
    bench.log.forget();
    return bench;
  }

  void whole(long epoch) {
    standby.onEpochWhole(LINK, GENERATION, epoch, stamp(epoch), now);
  }

  static long stamp(long epoch) {
    return epoch * 1000;
  }

  /** Time goes by in steps of a heartbeat, with a tick at each. */
  void pass(long nanos) {
    for (long left = nanos; left > 0; left -= CONFIG.heartbeatNanos()) {
      now += Math.min(left, CONFIG.heartbeatNanos());
      standby.onTick(now);
    }
  }

  long now() {
    return now;
  }
}
