package dev.dyad.engine.disk;

/**
 * What the primary's epoch loop asks of the disk. All of it on the disk thread; {@link DiskThread#call} carries the calls over.
 */
public interface DiskEpochs {

  /**
   * Ends {@code epoch}: every write that the guest has an answer to is in it or before, none that it asks for later. Called while the guest is
   * paused; costs one frame. Requests without an answer are named in that frame.
   */
  void seal(long epoch);

  /**
   * Ends the open epoch although no machine's epoch ends: while the standby's disk is being levelled it applies what is sealed, and what
   * it has durably need not be sent again. Does nothing otherwise.
   *
   * @param mayCheckpoint false to let {@link #isCaughtUp} come true
   */
  void sealLevelling(boolean mayCheckpoint);

  /** Whether the next {@link #seal} makes the standby's disk level; stays true until then, unless the channel is lost. */
  boolean isCaughtUp();

  /** The epoch that writes belong to now. */
  long epoch();

  /** Whether the standby's disk is whole as of the last epochs, so that it may take over. */
  boolean isLevel();

  /** Whether epochs travel to the standby's disk. */
  boolean isMirroring();

  /** Whether the epoch should end soon, because its writes fill what the standby takes for one. */
  boolean wantsSeal();

  /** Why the disk is not protected, in one line; empty while it is or becomes so. */
  String reason();

  /** Whether {@link #standAlone} must come before this side goes on alone: a standby may hold data under the present identifier. */
  boolean needsIdentity();

  /**
   * The standby is lost and this side goes on: its data gets a new identifier.
   *
   * @param identifier never used before
   */
  void standAlone(long identifier);

  /** Whether what {@link #standAlone} said is durable; nothing may leave this host before. */
  boolean isIdentityDurable();
}
