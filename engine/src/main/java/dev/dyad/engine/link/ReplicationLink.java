package dev.dyad.engine.link;

/**
 * The sending end of a replicated byte ring: what is written to {@link #ring()} and published appears, byte for byte and at the
 * same positions, in the ring of the peer's {@link ReplicaLink}. The link knows nothing of what the bytes mean. Small messages
 * of fixed size come back the other way, in order.
 *
 * <p>Thread: ship.
 */
public interface ReplicationLink extends LinkEnd {

  /** The peer has let go of everything before this position; the writer may write up to {@code released() + ring().capacityBytes()}. */
  long released();

  /** Everything before {@code position} may travel from now on. */
  void publish(long position);

  /**
   * Takes the next control message from the peer. Messages that arrived before the link went down can still be taken afterwards.
   *
   * @param destination address of {@link #CONTROL_BYTES} bytes
   * @return false when there is none
   */
  boolean receiveControl(long destination);
}
