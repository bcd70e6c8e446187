package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/** ioctl(2): the base of all device bindings. Returns the kernel's result or {@code -errno}; allocates nothing. */
public final class Ioctl {

  private Ioctl() {}

  /** {@code argument} is an address or a plain value, as the request wants. */
  public static long call(int fd, long request, long argument) {
    return Syscall.call(SYS_ioctl(), fd, request, argument);
  }
}
