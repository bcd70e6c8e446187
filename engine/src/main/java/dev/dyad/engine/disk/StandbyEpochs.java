package dev.dyad.engine.disk;

/** What the standby's epoch loop asks of the disk. All of it on the disk thread; {@link DiskThread#call} carries the calls over. */
public interface StandbyEpochs {

  /** Whether all writes of {@code epoch} are here and count: the disk's half of the acknowledgement. False before the disk is level. */
  boolean isWhole(long epoch);

  /** Memory and disk of {@code epoch} are whole: its writes may go to the image. */
  void committed(long epoch);

  /** Whether this disk may be taken over from. */
  boolean isLevel();

  /**
   * Ends receiving: writes after {@code epoch} are dropped, those up to it are applied. {@link #isReadyToTakeOver} tells when that is done.
   *
   * @return false, with nothing changed, when the disk is not level or the epoch not whole
   */
  boolean promote(long epoch);

  boolean isReadyToTakeOver();

  /** Hears of each request that the guest had no answer to at the seal of {@code epoch}. */
  void inFlight(long epoch, InFlight listener);

  /** A request as the guest made it. */
  interface InFlight {
    void request(long tag, int op, int flags, long offset, long bytes);
  }

  /** Why the disk does not receive, in one line; empty while it does. */
  String reason();
}
