package dev.dyad.engine.epoch;

/**
 * What {@link PrimaryProtocol} tells the primary to do. Called on the epoch thread, inside an event; an implementation must not
 * call back into the protocol before that event has returned.
 *
 * <p>Actions are to be carried out in the order of the calls. None of them fails: what goes wrong comes back as an event.
 */
public interface PrimaryActions {

  /** Ask the arbiter for {@code generation}; answered by exactly one of onGranted, onDenied, onArbiterUnreachable. */
  void requestGeneration(long generation);

  /** Release all held output in its order, then let output pass as it comes. */
  void passOutput();

  /** Hold output made in {@code epoch} and later. What the guest made before the seal of {@code epoch - 1} still passes. */
  void holdOutputFrom(long epoch);

  /**
   * Ship all pages over {@code link} while the guest runs, then what was written meanwhile, until little is left; then
   * onBaselineLevel. All of this belongs to {@code baselineEpoch}, whose number the standby learns in the handshake.
   */
  void startBaseline(long link, long baselineEpoch);

  /**
   * End {@code epoch} now: kick, harvest, capture, mark the output queue (what follows is epoch + 1), resume. Answered by
   * onSealed as the very next event.
   *
   * @param resume false when the guest must stay stopped after this epoch (handover)
   */
  void seal(long epoch, boolean resume);

  /**
   * Send what is left of {@code epoch} and then its seal, in order with everything before.
   *
   * @param sendNanos the send time that the seal carries; a later reading of the same clock may replace it as long as it is
   *     taken before the bytes are handed to the link
   */
  void ship(long link, long epoch, long sendNanos);

  /** Release the held output of every epoch up to and including {@code epoch}, in order. The only way out while protected. */
  void release(long epoch);

  /**
   * Send a frame that carries nothing but its send time (see {@link #ship} for that). It should not queue behind page data: the lease ages while
   * it waits.
   */
  void heartbeat(long link, long sendNanos);

  /**
   * Send a goodbye, in order with everything before.
   *
   * @param epoch the newest sealed epoch
   */
  void sayGoodbye(long link, Goodbye goodbye, long epoch);

  /** Close {@code link}. May also name a link that was just offered: it is refused. */
  void endLink(long link, LinkEnd reason);

  /** Stop the vCPUs until {@link #resumeGuest}; output stays held. */
  void pauseGuest();

  /** Let the vCPUs run on after {@link #pauseGuest} or a seal that did not resume. */
  void resumeGuest();

  /** Stop the guest for good and discard all held output. Nothing leaves this host any more. */
  void fence(FenceReason reason);

  /** The guest is released from replication and runs on by itself; its output passes already. The protocol is over. */
  void detached();

  /** The guest is protected from {@code epoch} on (for status and metrics). */
  void protectedFrom(long epoch);

  /** The guest is not protected from now on (for status and metrics). */
  void unprotected(Unprotected reason);
}
