package dev.dyad.engine.disk;

/** A disk, its metadata or its history is not what is needed; the message is one line: what was found, what is needed, what to do. */
public final class DiskRefusedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public DiskRefusedException(String message) {
    super(message);
  }
}
