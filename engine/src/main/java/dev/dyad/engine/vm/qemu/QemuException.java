package dev.dyad.engine.vm.qemu;

/** QEMU cannot be protected, or no longer; the message is one line: what was found, what is needed, what to run. */
public final class QemuException extends RuntimeException {
  private static final long serialVersionUID = 1;

  public QemuException(String message) {
    super(message);
  }

  public QemuException(String message, Throwable cause) {
    super(message, cause);
  }
}
