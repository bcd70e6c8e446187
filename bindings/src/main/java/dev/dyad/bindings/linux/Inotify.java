package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import java.lang.foreign.Arena;

/**
 * Watches one file, which may be a pipe's end by its {@code /proc/self/fd} name, for being opened and closed. inotify(7).
 *
 * <p>One thread. Non-blocking; allocates nothing after it is made.
 */
public final class Inotify implements AutoCloseable {

  // <sys/inotify.h>, since Linux 2.6.13.
  public static final int IN_OPEN = 0x20;
  public static final int IN_CLOSE_WRITE = 0x8;

  // asm/unistd_64.h
  private static final int SYS_INOTIFY_ADD_WATCH = 254;
  private static final int SYS_INOTIFY_INIT1 = 294;

  // struct inotify_event { int wd; u32 mask, cookie, len; char name[]; }
  private static final int EVENT_BYTES = 16;
  private static final int MASK_OFFSET = 4;
  private static final int LENGTH_OFFSET = 12;
  private static final int BUFFER_BYTES = 4096;

  private final FileDescriptor descriptor;
  private final Arena arena = Arena.ofShared();
  private final long buffer = arena.allocate(BUFFER_BYTES, 8).address();

  /** @param mask {@code IN_*} */
  public Inotify(String path, int mask) {
    descriptor = FileDescriptor.ofResult(Syscall.call(SYS_INOTIFY_INIT1, O_CLOEXEC() | O_NONBLOCK()), "inotify_init1", "");
    long result = Syscall.call(SYS_INOTIFY_ADD_WATCH, descriptor.fd(), arena.allocateFrom(path).address(), mask);
    if (result < 0) {
      close();
      throw new NativeException("inotify_add_watch", (int) -result, path);
    }
  }

  /** Readable when something happened. */
  public int fd() {
    return descriptor.fd();
  }

  /** What happened since the last call, as {@code IN_*} together; 0 for nothing. */
  public int take() {
    long bytes = Files.read(fd(), buffer, BUFFER_BYTES);
    int seen = 0;
    for (long at = buffer; at < buffer + bytes; at += EVENT_BYTES + Memory.getInt(at + LENGTH_OFFSET)) {
      seen |= Memory.getInt(at + MASK_OFFSET);
    }
    return seen;
  }

  @Override
  public void close() {
    descriptor.close();
    arena.close();
  }
}
