package dev.dyad.engine.arbiter;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.LOCK_EX;
import static dev.dyad.bindings.abi.linux.linux_h.LOCK_NB;
import static dev.dyad.bindings.abi.linux.linux_h.LOCK_UN;

import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.NativeException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * flock(2) on an open file, exclusive, with a bound on the wait. The kernel gives it back when the process dies, however it dies.
 *
 * <p>flock and not {@code FileChannel.lock} (fcntl): that one is lost as soon as anything in the process closes another
 * descriptor of the same file.
 */
final class HostLock {
  private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

  private HostLock() {}

  /**
   * @param waitNanos 0 for a single attempt
   * @return false when somebody else held it all the time
   */
  static boolean acquire(int fd, long waitNanos) {
    long start = System.nanoTime();
    while (true) {
      int result = Files.lock(fd, LOCK_EX() | LOCK_NB());
      if (result == 0) {
        return true;
      }
      if (result != -EAGAIN() && result != -EINTR()) {
        throw new NativeException("flock", -result, "fd=" + fd);
      }
      if (System.nanoTime() - start >= waitNanos) {
        return false;
      }
      LockSupport.parkNanos(RETRY_NANOS);
    }
  }

  static void release(int fd) {
    Files.lock(fd, LOCK_UN());
  }
}
