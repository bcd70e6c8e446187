package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/** The machine's clocks in nanoseconds. clock_gettime(2). */
public final class Clocks {

  private Clocks() {}

  /** CLOCK_MONOTONIC, which is what {@link System#nanoTime} reads on Linux, without a system call. */
  public static long monotonicNs() {
    return System.nanoTime();
  }

  /**
   * CLOCK_BOOTTIME: as {@link #monotonicNs}, and it goes on while the host is suspended. For whatever must not outlast a sleep that nobody noticed,
   * such as a lease.
   */
  public static long bootNs() {
    return read(CLOCK_BOOTTIME());
  }

  /** Any clock ({@code CLOCK_*}), by a system call; or {@code -errno}. */
  public static long read(int clock) {
    long at = ThreadScratch.address();
    long result = Syscall.call(SYS_clock_gettime(), clock, at);
    return result < 0 ? result : TimerFd.getTimespec(at);
  }
}
