package dev.dyad.engine.link;

/**
 * What both ends of a link have in common. Owned by one thread, which calls {@link #poll} often; nothing here blocks. After
 * {@link #isUp} turned false the link never comes up again: make a new one.
 *
 * <p>How a thread waits: {@code poll()} until it returns 0, {@link #prepareToWait}, and if that says true, poll(2) on {@link #pollFd} with a
 * bound of time; then {@code poll()} again. Busy polling needs neither.
 */
public interface LinkEnd extends AutoCloseable {

  /** Bytes of a control message, both as sent and as received. */
  int CONTROL_BYTES = 64;

  StagingRing ring();

  /**
   * Moves bytes and positions.
   *
   * @return amount of work done, 0 when idle
   */
  int poll();

  boolean isUp();

  /** Why the link is down, in one line; empty while it is up. */
  String failure();

  /** Changes whenever anything has come from the peer: a sign of life beside its heartbeats. */
  long activity();

  /**
   * Asks the peer to wake us through {@link #pollFd}.
   *
   * @return false when there is something to do already
   */
  boolean prepareToWait();

  /** Descriptor on which {@link #pollEvents} come up when {@link #poll} has something to do; −1 when closed. */
  int pollFd();

  /** What to wait for: POLLIN, POLLOUT, both or neither (a full ring of the receiver's). poll(2) */
  int pollEvents();

  /** Ends the link at once, from any state, and frees all that it holds. What was not sent is lost. */
  @Override
  void close();
}
