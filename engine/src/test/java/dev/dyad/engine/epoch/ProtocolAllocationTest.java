package dev.dyad.engine.epoch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.SteadyAllocation;
import org.junit.jupiter.api.Test;

final class ProtocolAllocationTest {
  private static final long MS = 1_000_000;
  private static final EpochConfig CONFIG = EpochConfig.of(10 * MS, 100 * MS);

  /** Both sides' actions: they only note what is to be done next. */
  private static final class Wires implements PrimaryActions, StandbyActions {
    private long toSeal;
    private long toApply;
    private long shipped;
    private long whole = PrimaryProtocol.NO_EPOCH;
    private long echo = PrimaryProtocol.NO_STAMP;
    private long released;

    @Override
    public void seal(long epoch, boolean resume) {
      toSeal = epoch;
    }

    @Override
    public void ship(long link, long epoch, long sendNanos) {
      shipped = epoch;
    }

    @Override
    public void release(long epoch) {
      released = epoch;
    }

    @Override
    public void report(long link, long generation, long wholeEpoch, long echoedSendNanos) {
      whole = wholeEpoch;
      echo = echoedSendNanos;
    }

    @Override
    public void apply(long epoch) {
      toApply = epoch;
    }

    @Override
    public void requestGeneration(long generation) {}

    @Override
    public void passOutput() {}

    @Override
    public void holdOutputFrom(long epoch) {}

    @Override
    public void startBaseline(long link, long baselineEpoch) {}

    @Override
    public void heartbeat(long link, long sendNanos) {}

    @Override
    public void sayGoodbye(long link, Goodbye goodbye, long epoch) {}

    @Override
    public void endLink(long link, LinkEnd reason) {}

    @Override
    public void pauseGuest() {}

    @Override
    public void resumeGuest() {}

    @Override
    public void fence(FenceReason reason) {}

    @Override
    public void detached() {}

    @Override
    public void protectedFrom(long epoch) {}

    @Override
    public void unprotected(Unprotected reason) {}

    @Override
    public void acceptBaseline(long link, long generation, long baselineEpoch) {}

    @Override
    public void discardAfter(long wholeEpoch) {}

    @Override
    public void promote(long generation, long epoch) {}

    @Override
    public void dropReplica(DropReason reason) {}

    @Override
    public void sayGoodbye(long link) {}

    @Override
    public void ready(long epoch) {}

    @Override
    public void stopped() {}
  }

  private final Wires wires = new Wires();
  private final PrimaryProtocol primary = new PrimaryProtocol(CONFIG, wires);
  private final StandbyProtocol standby = new StandbyProtocol(CONFIG, wires);
  private long now;

  @Test
  void shouldAllocateNothingPerEpoch() {
    primary.onPromoted(1, 1, now);
    standby.onConnected(1, 1, 1, now);
    primary.onStandbyConnected(1, now);
    primary.onBaselineLevel(1, now);
    commit();
    epochs(20_000);
    assertEquals(0, SteadyAllocation.bytes(() -> epochs(10_000)), "bytes in 10,000 epochs");
    assertEquals(PrimaryState.PROTECTED, primary.state());
    assertTrue(wires.released >= 29_000, "only " + wires.released + " epochs were released");
  }

  private void epochs(int count) {
    for (int i = 0; i < count; i++) {
      now += MS;
      primary.onOutputWaiting(now);
      commit();
      primary.onTick(now);
      standby.onTick(now);
    }
  }

  private void commit() {
    primary.onSealed(wires.toSeal, now);
    standby.onEpochWhole(1, 1, wires.shipped, now, now);
    standby.onApplied(wires.toApply, now);
    primary.onAck(1, 1, wires.whole, wires.echo, now);
  }
}
