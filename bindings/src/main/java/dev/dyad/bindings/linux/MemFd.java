package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import java.lang.foreign.Arena;

/** Owner of an anonymous file in memory, to be mapped more than once or by more than one process. memfd_create(2). */
public final class MemFd implements AutoCloseable {

  private final FileDescriptor descriptor;
  private final long bytes;

  private MemFd(FileDescriptor descriptor, long bytes) {
    this.descriptor = descriptor;
    this.bytes = bytes;
  }

  /** With close-on-exec, sealable, on base pages. */
  public static MemFd create(String name, long bytes) {
    return create(name, bytes, MFD_CLOEXEC() | MFD_ALLOW_SEALING());
  }

  /** @param flags {@code MFD_*}; with {@code MFD_HUGETLB}, {@code bytes} is in whole huge pages */
  public static MemFd create(String name, long bytes, int flags) {
    FileDescriptor descriptor;
    try (Arena arena = Arena.ofConfined()) {
      long result = Syscall.call(SYS_memfd_create(), arena.allocateFrom(name).address(), flags);
      descriptor = FileDescriptor.ofResult(result, "memfd_create", name + " flags=0x" + Integer.toHexString(flags));
    }
    long sized = Files.truncate(descriptor.fd(), bytes);
    if (sized < 0) {
      descriptor.close();
      throw new NativeException("ftruncate", (int) -sized, name + " bytes=" + bytes);
    }
    return new MemFd(descriptor, bytes);
  }

  public int fd() {
    return descriptor.fd();
  }

  public long bytes() {
    return bytes;
  }

  /** Maps all of it shared. The mapping outlives this descriptor. */
  public Mapping map() {
    return Mapping.shared(fd(), 0, bytes);
  }

  /** fcntl(2) F_ADD_SEALS; returns 0 or {@code -errno}. */
  public int seal(int seals) {
    return (int) Syscall.call(SYS_fcntl(), fd(), F_ADD_SEALS(), seals);
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
