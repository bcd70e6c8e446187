package dev.dyad.engine.net;

import java.util.List;

/**
 * All that a guest sends, over all its NICs, as the rest of the engine sees it: seal, release, pass, discard.
 *
 * <p>{@link #seal} and the questions below it are the epoch thread's, {@link #release} that of the thread that gets
 * acknowledgements, the modes the control thread's. Receiving is the net thread's own ({@link NetThread}).
 */
public final class GuestOutput {
  private final OutputEpoch epoch;
  private final ReleaseGate gate;
  private final HeldOutput[] nics;

  public GuestOutput(OutputEpoch epoch, ReleaseGate gate, List<HeldOutput> nics) {
    this.epoch = epoch;
    this.gate = gate;
    this.nics = nics.toArray(HeldOutput[]::new);
  }

  /** Ends the epoch for output. The guest is paused; it must not resume before this has returned. */
  public void seal(long sealedEpoch) {
    epoch.seal(sealedEpoch);
  }

  /** Whether the open epoch has output that waits for it to end. */
  public boolean outputWaits() {
    for (int i = 0; i < nics.length; i++) {
      if (nics[i].outputWaits()) {
        return true;
      }
    }
    return false;
  }

  /** Whether the room for held output runs short: time to end the epoch. */
  public boolean isPressed() {
    for (int i = 0; i < nics.length; i++) {
      if (nics[i].isPressed()) {
        return true;
      }
    }
    return false;
  }

  /** The standby holds every epoch up to this one: their output leaves. */
  public void release(long upToEpoch) {
    for (int i = 0; i < nics.length; i++) {
      nics[i].release(upToEpoch);
    }
  }

  /** Unprotected, with the right to run alone. */
  public void pass() {
    for (HeldOutput nic : nics) {
      nic.pass();
    }
  }

  /**
   * Protected from this seal on; called by the epoch thread right after {@link #seal}, guest still paused, at the first epoch
   * from which the standby may go on.
   */
  public void hold(long sealedEpoch) {
    for (HeldOutput nic : nics) {
      nic.hold(sealedEpoch);
    }
  }

  /** Fenced: nothing leaves any more. The gate is shut first, so that no batch that is under way goes further. */
  public void discard() {
    gate.fence();
    for (HeldOutput nic : nics) {
      nic.discard();
    }
  }

  public ReleaseGate gate() {
    return gate;
  }

  public OutputEpoch epoch() {
    return epoch;
  }

  public List<HeldOutput> nics() {
    return List.of(nics);
  }

  public long heldBytes() {
    long sum = 0;
    for (HeldOutput nic : nics) {
      sum += nic.heldBytes();
    }
    return sum;
  }

  public long heldFrames() {
    long sum = 0;
    for (HeldOutput nic : nics) {
      sum += nic.heldFrames();
    }
    return sum;
  }

  public long droppedFrames() {
    long sum = 0;
    for (HeldOutput nic : nics) {
      sum += nic.droppedFrames();
    }
    return sum;
  }

  public long receivedFrames() {
    long sum = 0;
    for (HeldOutput nic : nics) {
      sum += nic.receivedFrames();
    }
    return sum;
  }
}
