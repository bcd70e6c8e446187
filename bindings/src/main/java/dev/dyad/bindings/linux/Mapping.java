package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Owner of one range of mapped memory: mmap(2), munmap(2) once. The address stays fixed until {@link #close()}; whoever
 * got it (the kernel, a NIC, another thread) must be done with it by then.
 */
public final class Mapping implements AutoCloseable {

  /** x86-64's base page. */
  public static final int PAGE_BYTES = 4096;

  private final long hostVirt;
  private final long mappedBytes;
  private final long bytes;
  private final AtomicBoolean closed = new AtomicBoolean();

  private Mapping(long hostVirt, long mappedBytes, long bytes) {
    this.hostVirt = hostVirt;
    this.mappedBytes = mappedBytes;
    this.bytes = bytes;
  }

  /** Private zeroed memory, not reserved in swap. */
  public static Mapping anonymous(long bytes) {
    return map(bytes, PROT_READ() | PROT_WRITE(), MAP_PRIVATE() | MAP_ANONYMOUS() | MAP_NORESERVE(), -1, 0);
  }

  /**
   * The same, of 2 MiB pages where the kernel gives them when asked: for what is walked through page by page and would miss the TLB at each. MADV_HUGEPAGE is
   * advice, so a refusal changes nothing but the speed.
   */
  public static Mapping anonymousLarge(long bytes) {
    Mapping mapping = anonymous(bytes);
    mapping.advise(MADV_HUGEPAGE());
    return mapping;
  }

  /** A file, memfd or device from {@code offset} on, readable, writable and shared. */
  public static Mapping shared(int fd, long offset, long bytes) {
    return map(bytes, PROT_READ() | PROT_WRITE(), MAP_SHARED(), fd, offset);
  }

  /** mmap(2) with everything given. */
  public static Mapping map(long bytes, int protection, int flags, int fd, long offset) {
    return new Mapping(mmap(0, bytes, protection, flags, fd, offset), bytes, bytes);
  }

  /**
   * A ring whose end is followed by its beginning: {@code bytes} of new memory mapped twice in a row, so that a record may
   * run over the end without a seam.
   */
  public static Mapping mirrored(long bytes) {
    try (MemFd memory = MemFd.create("dyad-ring", bytes)) {
      return mirrored(memory.fd(), 0, bytes);
    }
  }

  /** The same over an existing memfd or file, for a ring that two processes share. {@code bytes} is in whole pages. */
  public static Mapping mirrored(int fd, long offset, long bytes) {
    if (bytes <= 0 || bytes % PAGE_BYTES != 0) {
      throw new IllegalArgumentException("a mirrored ring is in whole pages: " + bytes);
    }
    int protection = PROT_READ() | PROT_WRITE();
    // Reserve both halves first, so that nobody else's mapping can come between them.
    long at = mmap(0, 2 * bytes, PROT_NONE(), MAP_PRIVATE() | MAP_ANONYMOUS() | MAP_NORESERVE(), -1, 0);
    Mapping ring = new Mapping(at, 2 * bytes, bytes);
    try {
      mmap(at, bytes, protection, MAP_SHARED() | MAP_FIXED(), fd, offset);
      mmap(at + bytes, bytes, protection, MAP_SHARED() | MAP_FIXED(), fd, offset);
      return ring;
    } catch (NativeException e) {
      ring.close();
      throw e;
    }
  }

  /**
   * Puts a copy of a mirrored ring's bytes behind its addresses: whoever else has the old memory mapped has it for himself from now on.
   */
  public void unshareMirrored() {
    try (MemFd copy = MemFd.create("dyad-ring", bytes)) {
      try (Mapping target = shared(copy.fd(), 0, bytes)) {
        Memory.copy(hostVirt, target.hostVirt, bytes);
      }
      int protection = PROT_READ() | PROT_WRITE();
      mmap(hostVirt, bytes, protection, MAP_SHARED() | MAP_FIXED(), copy.fd(), 0);
      mmap(hostVirt + bytes, bytes, protection, MAP_SHARED() | MAP_FIXED(), copy.fd(), 0);
    }
  }

  private static long mmap(long at, long bytes, int protection, int flags, int fd, long offset) {
    long result = Syscall.call(SYS_mmap(), at, bytes, protection, flags, fd, offset);
    return NativeException.check(result, "mmap", "bytes=" + bytes + " flags=0x" + Integer.toHexString(flags) + " fd=" + fd
        + " offset=" + offset);
  }

  public long hostVirt() {
    return hostVirt;
  }

  /** Usable size; a mirrored ring's is that of one of its halves. */
  public long bytes() {
    return bytes;
  }

  /** madvise(2) on all of it; returns 0 or {@code -errno}. */
  public int advise(int advice) {
    return advise(0, mappedBytes, advice);
  }

  /** madvise(2) on a part, in whole pages; returns 0 or {@code -errno}. */
  public int advise(long offset, long length, int advice) {
    return (int) Syscall.call(SYS_madvise(), hostVirt + offset, length, advice);
  }

  /** mprotect(2) on a part, in whole pages; returns 0 or {@code -errno}. */
  public int protect(long offset, long length, int protection) {
    return (int) Syscall.call(SYS_mprotect(), hostVirt + offset, length, protection);
  }

  /** mlock(2) of all pages; returns 0 or {@code -errno} (ENOMEM or EPERM: RLIMIT_MEMLOCK, see {@link Limits}). */
  public int lock() {
    return (int) Syscall.call(SYS_mlock(), hostVirt, mappedBytes);
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      Syscall.call(SYS_munmap(), hostVirt, mappedBytes);
    }
  }
}
