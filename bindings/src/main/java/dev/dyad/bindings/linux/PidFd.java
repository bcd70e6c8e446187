package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

/**
 * Owner of a reference to one process that cannot come to mean another when the number is used again. pidfd_open(2). Any
 * thread.
 */
public final class PidFd implements AutoCloseable {

  private final int pid;
  private final FileDescriptor descriptor;

  private PidFd(int pid, FileDescriptor descriptor) {
    this.pid = pid;
    this.descriptor = descriptor;
  }

  /** ESRCH: there is no such process. */
  public static PidFd open(int pid) {
    return new PidFd(pid, FileDescriptor.ofResult(Syscall.call(SYS_pidfd_open(), pid, 0), "pidfd_open", "pid=" + pid));
  }

  public int pid() {
    return pid;
  }

  /** Readable when the process has ended. */
  public int fd() {
    return descriptor.fd();
  }

  /** pidfd_getfd(2): a duplicate of the process's descriptor, which the caller owns, or {@code -errno}. */
  public int takeDescriptor(int remoteFd) {
    return (int) Syscall.call(SYS_pidfd_getfd(), fd(), remoteFd, 0);
  }

  /** pidfd_send_signal(2); returns 0 or {@code -errno}. 0 as the signal only asks. */
  public int sendSignal(int signal) {
    return (int) Syscall.call(SYS_pidfd_send_signal(), fd(), signal, 0, 0);
  }

  /** Waits at most so long; true when the process has ended. */
  public boolean awaitExit(int timeoutMillis) {
    return Poll.once(fd(), POLLIN(), timeoutMillis) > 0;
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
