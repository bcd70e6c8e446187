package dev.dyad.engine.epoch;

/**
 * What {@link StandbyProtocol} tells the standby to do. Called on its one thread, inside an event; an implementation must not
 * call back into the protocol before that event has returned.
 */
public interface StandbyActions {

  /**
   * Receive a baseline. Its pages may go straight into the replica's memory as they come, since nothing can be promoted
   * before {@code baselineEpoch} is whole. Every later epoch is staged and only touches the replica by {@link #apply}.
   */
  void acceptBaseline(long link, long generation, long baselineEpoch);

  /**
   * Tell the primary what is whole here: acknowledgement and heartbeat in one, cumulative.
   *
   * @param wholeEpoch the newest epoch that is whole and may count as committed, {@link PrimaryProtocol#NO_EPOCH} before the baseline is whole
   * @param echoedSendNanos the newest send time received, {@link PrimaryProtocol#NO_STAMP} when there was none
   */
  void report(long link, long generation, long wholeEpoch, long echoedSendNanos);

  /** Apply {@code epoch}, which is whole, to the replica; answered by onApplied. At most one at a time, in order. */
  void apply(long epoch);

  /** Throw away whatever was received after {@code wholeEpoch}. */
  void discardAfter(long wholeEpoch);

  /** Ask the arbiter for {@code generation}; answered by exactly one of onGranted, onDenied, onArbiterUnreachable. */
  void requestGeneration(long generation);

  /** Let the guest run from the replica, which is exactly {@code epoch}. This host is the primary of {@code generation}. */
  void promote(long generation, long epoch);

  /** Give up replica and staged epochs; answered by onReplicaDropped, after an apply under way has been answered. */
  void dropReplica(DropReason reason);

  /** Tell the primary that this standby has given up its state. */
  void sayGoodbye(long link);

  /** Close {@code link} after what was sent has left. May also name a link that was just offered: it is refused. */
  void endLink(long link, LinkEnd reason);

  /** From {@code epoch} on this standby can take over (for status and metrics). */
  void ready(long epoch);

  /** The protocol is over; nothing is held here. */
  void stopped();
}
