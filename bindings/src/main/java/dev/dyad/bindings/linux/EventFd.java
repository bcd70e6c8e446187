package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/** Owner of a counter that wakes poll and epoll: a thread's bell. eventfd(2), non-blocking. Any thread. */
public final class EventFd implements AutoCloseable {

  private final FileDescriptor descriptor =
      FileDescriptor.ofResult(Syscall.call(SYS_eventfd2(), 0, EFD_CLOEXEC() | EFD_NONBLOCK()), "eventfd", "");

  /** Readable while the counter is not 0. */
  public int fd() {
    return descriptor.fd();
  }

  /** Adds 1; returns 8 or {@code -errno}. */
  public long signal() {
    return signal(fd());
  }

  /** The same on any eventfd, such as one of another process. */
  public static long signal(int fd) {
    long value = ThreadScratch.address();
    Memory.putLong(value, 1);
    return Files.write(fd, value, Long.BYTES);
  }

  /** Takes the count and sets it to 0; {@code -EAGAIN} when it is 0 already. */
  public long drain() {
    return readCount(fd());
  }

  // eventfd(2) and timerfd_create(2) both give a count of eight bytes.
  static long readCount(int fd) {
    long value = ThreadScratch.address();
    long result = Files.read(fd, value, Long.BYTES);
    return result < 0 ? result : Memory.getLong(value);
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
