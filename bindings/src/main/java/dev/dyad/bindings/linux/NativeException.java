package dev.dyad.bindings.linux;

/**
 * A call into the kernel or a native library failed where it must not: the environment is broken. Expected failures are
 * return codes and never become this.
 */
public final class NativeException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final String call;
  private final int errno;

  /**
   * @param call the function as its man page names it
   * @param errno positive
   * @param detail the values that matter: {@code "fd=7 bytes=4096"}
   */
  public NativeException(String call, int errno, String detail) {
    super(call + ": " + Errno.name(errno) + (detail.isEmpty() ? "" : " (" + detail + ")"));
    this.call = call;
    this.errno = errno;
  }

  /** Returns {@code result} unless it is {@code -errno}. */
  public static long check(long result, String call, String detail) {
    if (result < 0) {
      throw new NativeException(call, (int) -result, detail);
    }
    return result;
  }

  public String call() {
    return call;
  }

  /** Positive. */
  public int errno() {
    return errno;
  }

  public String errnoName() {
    return Errno.name(errno);
  }
}
