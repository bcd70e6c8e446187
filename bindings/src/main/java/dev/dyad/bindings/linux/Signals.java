package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/**
 * The calling thread's signal mask, and taking blocked signals without a handler. rt_sigprocmask(2), rt_sigtimedwait(2).
 * No handler is ever installed: those belong to the JVM.
 *
 * <p>A set is a long with bit {@code signal - 1}, as the kernel has it. Allocates nothing.
 */
public final class Signals {

  private Signals() {}

  /** The {@code n}th real-time signal that is free for programs; glibc keeps the kernel's first two. */
  public static int realTime(int n) {
    return DYAD_SIGRTMIN_KERNEL() + 2 + n;
  }

  /** The set of one signal. */
  public static long setOf(int signal) {
    return 1L << (signal - 1);
  }

  /** Blocks a set in this thread; returns 0 or {@code -errno}. */
  public static int block(long set) {
    return mask(SIG_BLOCK(), set);
  }

  /** Unblocks a set in this thread; returns 0 or {@code -errno}. */
  public static int unblock(long set) {
    return mask(SIG_UNBLOCK(), set);
  }

  /** What this thread blocks. */
  public static long blocked() {
    long at = ThreadScratch.address();
    Syscall.call(SYS_rt_sigprocmask(), SIG_BLOCK(), 0, at, DYAD_KERNEL_SIGSET_BYTES());
    return Memory.getLong(at);
  }

  private static int mask(int how, long set) {
    long at = ThreadScratch.address();
    Memory.putLong(at, set);
    return (int) Syscall.call(SYS_rt_sigprocmask(), how, at, 0, DYAD_KERNEL_SIGSET_BYTES());
  }

  /** Takes one pending blocked signal of the set, waiting for it; its number, {@code -EAGAIN} at the time-out, or {@code -errno}. */
  public static int take(long set, long timeoutNs) {
    long at = ThreadScratch.address();
    long timeout = at + Long.BYTES;
    Memory.putLong(at, set);
    TimerFd.putTimespec(timeout, timeoutNs);
    return (int) Syscall.call(SYS_rt_sigtimedwait(), at, 0, timeout, DYAD_KERNEL_SIGSET_BYTES());
  }
}
