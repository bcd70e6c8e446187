package dev.dyad.engine.arbiter;

import org.jspecify.annotations.Nullable;

/**
 * Decides which side may go on alone. Asked only after the loss of the peer, never while protected.
 *
 * <p>A <em>generation</em> is won at most once, by one host: the one that moves the arbiter from {@code generation − 1} to
 * {@code generation}. Called on the control thread; may block up to a bound of its own.
 */
public interface Arbiter extends AutoCloseable {

  /** The answer to a request. */
  enum Verdict {
    /** The caller holds the generation now, or already did. */
    GRANTED,
    /** Somebody else holds this generation or a later one: the caller must fence itself. */
    DENIED,
    /** Nothing is known. The caller must neither go on nor give up; it asks again. */
    UNREACHABLE
  }

  /** The newest generation that was won by anybody; −1 when the arbiter cannot be reached. */
  long current();

  /**
   * The newest generation that anybody is known to have won, without asking: at least what {@link #current} and {@link #request} have shown. Any
   * thread; one load. Good for holding back, not for going on.
   */
  long newest();

  /** Why the last answer was {@link Verdict#UNREACHABLE}, or −1, as one line; null when it was not. */
  @Nullable String problem();

  /**
   * Tries to win {@code generation}.
   *
   * @param generation the caller's last one + 1
   * @param host identity of the caller, equal in all its requests
   */
  Verdict request(long generation, String host);

  @Override
  void close();
}
