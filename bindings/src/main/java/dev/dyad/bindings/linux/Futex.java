package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/** Waiting on a 32-bit word in memory that two processes share. futex(2), not the private kind. Allocates nothing. */
public final class Futex {

  private Futex() {}

  /**
   * Sleeps while the word is {@code expected}, at most {@code timeoutNs}. Returns 0 when woken, {@code -EAGAIN} when the word is
   * another already, {@code -ETIMEDOUT}, {@code -EINTR}. Look at the word again in every case.
   */
  public static int await(long wordVirt, int expected, long timeoutNs) {
    long timeout = ThreadScratch.address();
    TimerFd.putTimespec(timeout, timeoutNs);
    return (int) Syscall.call(SYS_futex(), wordVirt, FUTEX_WAIT(), expected, timeout);
  }

  /** Wakes at most {@code waiters}; returns how many, or {@code -errno}. Change the word before. */
  public static int wake(long wordVirt, int waiters) {
    return (int) Syscall.call(SYS_futex(), wordVirt, FUTEX_WAKE(), waiters);
  }
}
