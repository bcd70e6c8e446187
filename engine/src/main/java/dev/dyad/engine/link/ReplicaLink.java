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
}
