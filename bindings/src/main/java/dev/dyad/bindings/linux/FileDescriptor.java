package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Owner of one file descriptor: closes it once, whoever asks first. Afterwards {@link #fd()} is -1, so that a late call gets
 * {@code -EBADF} instead of reaching whatever the kernel gave the number to next.
 *
 * <p>Any thread may close; a call that another thread is inside of at that moment keeps the old number.
 */
public final class FileDescriptor implements AutoCloseable {

  private final AtomicInteger fd;

  private FileDescriptor(int fd) {
    this.fd = new AtomicInteger(fd);
  }

  /** Takes ownership of an open descriptor. */
  public static FileDescriptor adopt(int fd) {
    if (fd < 0) {
      throw new IllegalArgumentException("not a descriptor: " + fd);
    }
    return new FileDescriptor(fd);
  }

  /** Takes ownership of a call's result; throws if that is {@code -errno}. */
  static FileDescriptor ofResult(long result, String call, String detail) {
    return new FileDescriptor((int) NativeException.check(result, call, detail));
  }

  /** The number, or -1 once closed. */
  public int fd() {
    return fd.getPlain();
  }

  public boolean isOpen() {
    return fd.get() >= 0;
  }

  /** Gives the number away: the caller closes it. */
  public int release() {
    return fd.getAndSet(-1);
  }

  /** fcntl(2) F_DUPFD_CLOEXEC. */
  public FileDescriptor duplicate() {
    int from = fd();
    return ofResult(Syscall.call(SYS_fcntl(), from, F_DUPFD_CLOEXEC(), 0), "fcntl F_DUPFD_CLOEXEC", "fd=" + from);
  }

  /** fcntl(2) F_SETFL. */
  public void setNonBlocking(boolean nonBlocking) {
    int of = fd();
    long flags = NativeException.check(Syscall.call(SYS_fcntl(), of, F_GETFL()), "fcntl F_GETFL", "fd=" + of);
    long wanted = nonBlocking ? flags | O_NONBLOCK() : flags & ~O_NONBLOCK();
    NativeException.check(Syscall.call(SYS_fcntl(), of, F_SETFL(), wanted), "fcntl F_SETFL", "fd=" + of);
  }

  /** close(2). Its errors say nothing that a caller could mend; writes are checked by fdatasync before. */
  @Override
  public void close() {
    int last = fd.getAndSet(-1);
    if (last >= 0) {
      Syscall.call(SYS_close(), last);
    }
  }

  @Override
  public String toString() {
    return "fd " + fd();
  }
}
