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

  /**
   * The standby is lost and this side goes on: its data gets a new identifier.
   *
   * @param identifier never used before
   */
  void standAlone(long identifier);

  /** Whether what {@link #standAlone} said is durable; nothing may leave this host before. */
  boolean isIdentityDurable();
}
