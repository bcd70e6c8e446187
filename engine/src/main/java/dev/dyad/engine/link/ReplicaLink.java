package dev.dyad.engine.link;

/**
 * The receiving end of a replicated byte ring, see {@link ReplicationLink}. Bytes that arrived before the link went down stay
 * readable until {@link #close}.
 */
public interface ReplicaLink extends LinkEnd {

  /** Everything before this position has arrived in {@link #ring()}. */
  long received();

  /** Lets the sender reuse everything before {@code position}. */
  void release(long position);

  /**
   * Sends a control message.
   *
   * @param source address of {@link #CONTROL_BYTES} bytes, not all zero
   * @return false when there is no room now
   */
  boolean sendControl(long source);

  /**
   * Takes the peer's right to write to {@link #ring} away, before this side is promoted: when it returns, {@link #received} and the ring's
   * bytes do not change any more, whatever a peer that was only stopped still sends. The link is down afterwards; what was received stays
   * readable.
   */
  void fence();
}
