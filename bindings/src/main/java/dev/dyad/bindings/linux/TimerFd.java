package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.itimerspec;
import dev.dyad.bindings.abi.linux.timespec;

/** Owner of a timer on CLOCK_MONOTONIC that wakes poll and epoll. timerfd_create(2), non-blocking. One thread. */
public final class TimerFd implements AutoCloseable {

  private static final long NANOS_PER_SECOND = 1_000_000_000L;

  private final FileDescriptor descriptor =
      FileDescriptor.ofResult(
          Syscall.call(SYS_timerfd_create(), CLOCK_MONOTONIC(), TFD_CLOEXEC() | TFD_NONBLOCK()),
          "timerfd_create", "");

  /** Readable when it has expired. */
  public int fd() {
    return descriptor.fd();
  }

  /** First after {@code firstNs} (more than 0), then every {@code periodNs} (0: never again). Returns 0 or {@code -errno}. */
  public int arm(long firstNs, long periodNs) {
    return set(0, firstNs, periodNs);
  }

  /** First at {@code monotonicNs} of {@link Clocks#monotonicNs}; a moment gone by expires at once. Returns 0 or {@code -errno}. */
  public int armAt(long monotonicNs, long periodNs) {
    return set(TFD_TIMER_ABSTIME(), monotonicNs, periodNs);
  }

  public int disarm() {
    return set(0, 0, 0);
  }

  private int set(int flags, long firstNs, long periodNs) {
    long at = ThreadScratch.address();
    putTimespec(at + itimerspec.it_value$offset(), firstNs);
    putTimespec(at + itimerspec.it_interval$offset(), periodNs);
    return (int) Syscall.call(SYS_timerfd_settime(), fd(), flags, at, 0);
  }

  static void putTimespec(long at, long ns) {
    Memory.putLong(at + timespec.tv_sec$offset(), ns / NANOS_PER_SECOND);
    Memory.putLong(at + timespec.tv_nsec$offset(), ns % NANOS_PER_SECOND);
  }

  static long getTimespec(long at) {
    return Memory.getLong(at + timespec.tv_sec$offset()) * NANOS_PER_SECOND
        + Memory.getLong(at + timespec.tv_nsec$offset());
  }

  /** How often it expired since this was last asked; {@code -EAGAIN} when it did not. */
  public long takeExpirations() {
    return EventFd.readCount(fd());
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
