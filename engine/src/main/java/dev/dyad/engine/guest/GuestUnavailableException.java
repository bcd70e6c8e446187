package dev.dyad.engine.guest;

/** The guest cannot be put together or started here; the message is one line: what is missing and what to run. */
public final class GuestUnavailableException extends RuntimeException {
  private static final long serialVersionUID = 1;

  public GuestUnavailableException(String message) {
    super(message);
  }

  public GuestUnavailableException(String message, Throwable cause) {
    super(message, cause);
  }
}
