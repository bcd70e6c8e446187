package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.uffdio_api;
import dev.dyad.bindings.abi.linux.uffdio_copy;
import dev.dyad.bindings.abi.linux.uffdio_register;
import dev.dyad.bindings.abi.linux.uffdio_writeprotect;

/**
 * Owner of one userfaultfd: write tracking (asynchronous) or copy-on-write (by messages) over ranges of the address space
 * that it was made in, which may be another process's. userfaultfd(2), ioctl_userfaultfd(2).
 *
 * <p>Any thread, one at a time. Closing it ends the tracking of all its ranges and lets every waiting thread go.
 * Calls return the kernel's result or {@code -errno}; ranges are in whole pages of the mapping.
 */
public final class Userfaultfd implements AutoCloseable {

  private static final long RANGE_START = 0;
  private static final long RANGE_BYTES = 8;

  private final FileDescriptor descriptor;

  private Userfaultfd(FileDescriptor descriptor) {
    this.descriptor = descriptor;
  }

  /**
   * For this process's memory. Non-blocking. Without privilege the kernel refuses (EPERM) unless {@code userModeOnly}, in
   * which case faults inside system calls are not handled by messages; asynchronous tracking does not care.
   */
  public static Userfaultfd create(boolean userModeOnly) {
    return adopt(FileDescriptor.ofResult(tryCreate(userModeOnly), "userfaultfd", "userModeOnly=" + userModeOnly));
  }

  private static long tryCreate(boolean userModeOnly) {
    return Syscall.call(
        SYS_userfaultfd(), O_CLOEXEC() | O_NONBLOCK() | (userModeOnly ? UFFD_USER_MODE_ONLY() : 0));
  }

  /** Around a descriptor that was made in another process and taken over; owns it from now on. */
  public static Userfaultfd adopt(FileDescriptor descriptor) {
    return new Userfaultfd(descriptor);
  }

  /** What the running kernel offers, as {@code UFFD_FEATURE_*}; or {@code -errno} if it gives us no userfaultfd at all. */
  public static long supportedFeatures() {
    long fd = tryCreate(true);
    if (fd < 0) {
      return fd;
    }
    try (Userfaultfd probe = adopt(FileDescriptor.adopt((int) fd))) {
      int result = probe.enable(0);
      return result < 0 ? result : Memory.getLong(ThreadScratch.address() + uffdio_api.features$offset());
    }
  }

  public int fd() {
    return descriptor.fd();
  }

  /** UFFDIO_API with all of {@code features}: once, first. EINVAL: one of them is missing. */
  public int enable(long features) {
    long api = ThreadScratch.address();
    Memory.putLong(api + uffdio_api.api$offset(), UFFD_API());
    Memory.putLong(api + uffdio_api.features$offset(), features);
    Memory.putLong(api + uffdio_api.ioctls$offset(), 0);
    return (int) Ioctl.call(fd(), UFFDIO_API(), api);
  }

  /** UFFDIO_REGISTER; {@code mode} is {@code UFFDIO_REGISTER_MODE_*}. */
  public int register(long startVirt, long bytes, long mode) {
    long register = range(startVirt, bytes);
    Memory.putLong(register + uffdio_register.mode$offset(), mode);
    Memory.putLong(register + uffdio_register.ioctls$offset(), 0);
    return (int) Ioctl.call(fd(), UFFDIO_REGISTER(), register);
  }

  /** UFFDIO_UNREGISTER. */
  public int unregister(long startVirt, long bytes) {
    return (int) Ioctl.call(fd(), UFFDIO_UNREGISTER(), range(startVirt, bytes));
  }

  /** UFFDIO_WRITEPROTECT: sets the protection. */
  public int protect(long startVirt, long bytes) {
    return writeProtect(startVirt, bytes, UFFDIO_WRITEPROTECT_MODE_WP());
  }

  /** UFFDIO_WRITEPROTECT: lifts the protection and wakes who waits on it. */
  public int unprotect(long startVirt, long bytes) {
    return writeProtect(startVirt, bytes, 0);
  }

  private int writeProtect(long startVirt, long bytes, long mode) {
    long argument = range(startVirt, bytes);
    Memory.putLong(argument + uffdio_writeprotect.mode$offset(), mode);
    return (int) Ioctl.call(fd(), UFFDIO_WRITEPROTECT(), argument);
  }

  /** UFFDIO_WAKE. */
  public int wake(long startVirt, long bytes) {
    return (int) Ioctl.call(fd(), UFFDIO_WAKE(), range(startVirt, bytes));
  }

  /** UFFDIO_COPY into missing pages; returns the bytes copied, which may be fewer, or {@code -errno}. */
  public long copy(long fromVirt, long toVirt, long bytes, long mode) {
    long argument = ThreadScratch.address();
    Memory.putLong(argument + uffdio_copy.dst$offset(), toVirt);
    Memory.putLong(argument + uffdio_copy.src$offset(), fromVirt);
    Memory.putLong(argument + uffdio_copy.len$offset(), bytes);
    Memory.putLong(argument + uffdio_copy.mode$offset(), mode);
    Memory.putLong(argument + uffdio_copy.copy$offset(), 0);
    long result = Ioctl.call(fd(), UFFDIO_COPY(), argument);
    long copied = Memory.getLong(argument + uffdio_copy.copy$offset());
    return result < 0 && copied <= 0 ? result : copied;
  }

  /** Reads whole {@code uffd_msg}s; returns bytes, or {@code -EAGAIN} when none waits. */
  public long readMessages(long intoVirt, long bytes) {
    return Files.read(fd(), intoVirt, bytes);
  }

  // Every argument of these ioctls begins with struct uffdio_range.
  private static long range(long startVirt, long bytes) {
    long at = ThreadScratch.address();
    Memory.putLong(at + RANGE_START, startVirt);
    Memory.putLong(at + RANGE_BYTES, bytes);
    return at;
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
