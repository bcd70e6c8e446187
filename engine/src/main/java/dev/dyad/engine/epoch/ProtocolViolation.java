package dev.dyad.engine.epoch;

/**
 * An event that the protocol's own host must never deliver, or a transition that is not in the table: a programmer's error.
 *
 * <p>Always on. Whoever drives the protocol treats it as the death of this process: it closes the link, releases nothing more
 * and lets the guest be; the machine that threw it refuses every later event. A peer that is wrong is not a violation, it ends
 * the link with a {@link LinkEnd}.
 */
public final class ProtocolViolation extends IllegalStateException {
  public ProtocolViolation(String message) {
    super(message);
  }
}
