package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.statx;
import java.lang.foreign.Arena;

/**
 * Files and pipes by descriptor and address. Calls return the kernel's result (bytes, 0) or {@code -errno} and may be
 * short; {@link #open} throws.
 */
public final class Files {

  private Files() {}

  /** openat(2), always with O_CLOEXEC. */
  public static FileDescriptor open(String path, int flags) {
    return open(path, flags, 0);
  }

  /** openat(2), always with O_CLOEXEC; {@code mode} counts with O_CREAT only. */
  public static FileDescriptor open(String path, int flags, int mode) {
    return FileDescriptor.ofResult(tryOpen(path, flags, mode), "openat", path + " flags=0x" + Integer.toHexString(flags));
  }

  /** The same for a file that may well be absent or refused: a descriptor that the caller owns, or {@code -errno}. */
  public static int tryOpen(String path, int flags, int mode) {
    try (Arena arena = Arena.ofConfined()) {
      long name = arena.allocateFrom(path).address();
      return (int) Syscall.call(SYS_openat(), AT_FDCWD(), name, flags | O_CLOEXEC(), mode);
    }
  }

  /** read(2). */
  public static long read(int fd, long hostVirt, long bytes) {
    return Syscall.call(SYS_read(), fd, hostVirt, bytes);
  }

  /** write(2). */
  public static long write(int fd, long hostVirt, long bytes) {
    return Syscall.call(SYS_write(), fd, hostVirt, bytes);
  }

  /** readv(2). */
  public static long readv(int fd, IoVector vector) {
    return Syscall.call(SYS_readv(), fd, vector.hostVirt(), vector.count());
  }

  /** writev(2). */
  public static long writev(int fd, IoVector vector) {
    return Syscall.call(SYS_writev(), fd, vector.hostVirt(), vector.count());
  }

  /** pread(2). */
  public static long pread(int fd, long hostVirt, long bytes, long offset) {
    return Syscall.call(SYS_pread64(), fd, hostVirt, bytes, offset);
  }

  /** pwrite(2). */
  public static long pwrite(int fd, long hostVirt, long bytes, long offset) {
    return Syscall.call(SYS_pwrite64(), fd, hostVirt, bytes, offset);
  }

  /** lseek(2): where the next data (SEEK_DATA) or hole (SEEK_HOLE) from {@code offset} on begins, or {@code -errno}; moves the file's position. */
  public static long seek(int fd, long offset, int whence) {
    return Syscall.call(SYS_lseek(), fd, offset, whence);
  }

  /** fsync(2). */
  public static int sync(int fd) {
    return (int) Syscall.call(SYS_fsync(), fd);
  }

  /** fdatasync(2). */
  public static int dataSync(int fd) {
    return (int) Syscall.call(SYS_fdatasync(), fd);
  }

  /** flock(2) with LOCK_SH, LOCK_EX or LOCK_UN, and LOCK_NB. */
  public static int lock(int fd, int operation) {
    return (int) Syscall.call(SYS_flock(), fd, operation);
  }

  /** ftruncate(2). */
  public static int truncate(int fd, long bytes) {
    return (int) Syscall.call(SYS_ftruncate(), fd, bytes);
  }

  /** fallocate(2) with FALLOC_FL_*. */
  public static int allocate(int fd, int mode, long offset, long bytes) {
    return (int) Syscall.call(SYS_fallocate(), fd, mode, offset, bytes);
  }

  /** statx(2): size of a regular file or memfd in bytes. A block device's is {@code BLKGETSIZE64} of {@link Ioctl}. */
  public static long bytes(int fd) {
    long empty = ThreadScratch.address();
    long into = empty + 8;
    Memory.putLong(empty, 0);
    long result = Syscall.call(SYS_statx(), fd, empty, AT_EMPTY_PATH(), STATX_SIZE(), into);
    return result < 0 ? result : Memory.getLong(into + statx.stx_size$offset());
  }

  /** mknodat(2) of a FIFO. */
  public static void makeFifo(String path, int mode) {
    try (Arena arena = Arena.ofConfined()) {
      long name = arena.allocateFrom(path).address();
      NativeException.check(Syscall.call(SYS_mknodat(), AT_FDCWD(), name, S_IFIFO() | mode, 0), "mknodat", path);
    }
  }

  /** pipe2(2): the reading end and the writing end. {@code flags} may be O_NONBLOCK; both are close-on-exec. */
  public static FileDescriptor[] pipe(int flags) {
    long into = ThreadScratch.address();
    NativeException.check(Syscall.call(SYS_pipe2(), into, flags | O_CLOEXEC()), "pipe2", "flags=0x" + Integer.toHexString(flags));
    int reading = Memory.getInt(into);
    int writing = Memory.getInt(into + Integer.BYTES);
    return new FileDescriptor[] {FileDescriptor.adopt(reading), FileDescriptor.adopt(writing)};
  }

  /** fchmod(2); returns 0 or {@code -errno}. */
  public static int setMode(int fd, int mode) {
    return (int) Syscall.call(SYS_fchmod(), fd, mode);
  }

  /** fcntl(2) F_SETPIPE_SZ; returns the size that the pipe has now, or {@code -errno}. */
  public static int setPipeBytes(int fd, int bytes) {
    return (int) Syscall.call(SYS_fcntl(), fd, F_SETPIPE_SZ(), bytes);
  }
}
