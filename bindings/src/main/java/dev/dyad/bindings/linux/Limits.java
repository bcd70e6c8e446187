package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.rlimit;

/** Resource limits of this process. prlimit(2). */
public final class Limits {

  /** No limit, as the kernel writes it. */
  public static final long INFINITY = -1;

  private Limits() {}

  /** The soft limit of {@code RLIMIT_*}; {@link #INFINITY} for none. */
  public static long soft(int resource) {
    return Memory.getLong(read(resource) + rlimit.rlim_cur$offset());
  }

  /** The hard limit of {@code RLIMIT_*}; {@link #INFINITY} for none. */
  public static long hard(int resource) {
    return Memory.getLong(read(resource) + rlimit.rlim_max$offset());
  }

  /** Raises the soft limit to the hard one; returns 0 or {@code -errno}. */
  public static int raiseToHard(int resource) {
    long hard = hard(resource);
    long at = ThreadScratch.address();
    Memory.putLong(at + rlimit.rlim_cur$offset(), hard);
    Memory.putLong(at + rlimit.rlim_max$offset(), hard);
    return (int) Syscall.call(SYS_prlimit64(), 0, resource, at, 0);
  }

  private static long read(int resource) {
    long into = ThreadScratch.address();
    NativeException.check(Syscall.call(SYS_prlimit64(), 0, resource, 0, into), "prlimit", "resource=" + resource);
    return into;
  }
}
