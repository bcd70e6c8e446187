package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/** The calling thread's namespaces. setns(2), unshare(2). Only for platform threads. */
public final class Namespaces {

  private Namespaces() {}

  /** Enters the one that {@code path} names ({@code /proc/PID/ns/net}); {@code kind} is {@code CLONE_NEW*}. Throws. */
  public static void enter(String path, int kind) {
    try (FileDescriptor namespace = Files.open(path, O_RDONLY())) {
      NativeException.check(enter(namespace.fd(), kind), "setns", path);
    }
  }

  /** setns(2); returns 0 or {@code -errno}. A user namespace refuses a process with threads (EINVAL). */
  public static int enter(int fd, int kind) {
    return (int) Syscall.call(SYS_setns(), fd, kind);
  }

  /** unshare(2) of {@code CLONE_NEW*}; returns 0 or {@code -errno}. */
  public static int leave(int kinds) {
    return (int) Syscall.call(SYS_unshare(), kinds);
  }
}
