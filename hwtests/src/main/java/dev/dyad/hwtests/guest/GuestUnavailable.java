package dev.dyad.hwtests.guest;

/** This machine lacks something that a guest needs. The message is one line: what is missing and how to get it. */
public final class GuestUnavailable extends Exception {
  private static final long serialVersionUID = 1;

  public GuestUnavailable(String message) {
    super(message);
  }
}
