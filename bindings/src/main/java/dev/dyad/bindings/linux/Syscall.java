package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * The one door to the kernel: syscall(2) by number, six words in, result or {@code -errno} out, nothing allocated.
 *
 * <p>Any thread. One door instead of a wrapper for each of libc's functions: the kernel's own semantics, the same on every
 * libc, and one compiled call for all. What is called is a page of our own with ten instructions instead of libc's
 * {@code syscall}, which hides the kernel's answer in errno: to capture that, the linker slices a segment at each call, 40
 * bytes wherever the compiler does not see through it (docs/decisions/syscall-stub.md). Never linked as {@code critical}:
 * many of the calls sleep, and a GC would wait for them. A call that is interrupted returns {@code -EINTR}; retrying is the
 * caller's policy.
 */
public final class Syscall {

  /** From the C calling convention to the kernel's (x86-64 psABI, appendix A.2.1). */
  private static final byte[] CODE = {
    (byte) 0xf3, 0x0f, 0x1e, (byte) 0xfa, // endbr64
    0x48, (byte) 0x89, (byte) 0xf8, // mov rax, rdi: the number
    0x48, (byte) 0x89, (byte) 0xf7, // mov rdi, rsi
    0x48, (byte) 0x89, (byte) 0xd6, // mov rsi, rdx
    0x48, (byte) 0x89, (byte) 0xca, // mov rdx, rcx
    0x4d, (byte) 0x89, (byte) 0xc2, // mov r10, r8
    0x4d, (byte) 0x89, (byte) 0xc8, // mov r8, r9
    0x4c, (byte) 0x8b, 0x4c, 0x24, 0x08, // mov r9, [rsp+8]
    0x0f, 0x05, // syscall
    (byte) 0xc3, // ret
  };

  private static final MethodHandle SYSCALL =
      Linker.nativeLinker()
          .downcallHandle(
              code(),
              FunctionDescriptor.of(
                  JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG));

  private Syscall() {}

  public static long call(long number) {
    return call(number, 0, 0, 0, 0, 0, 0);
  }

  public static long call(long number, long a) {
    return call(number, a, 0, 0, 0, 0, 0);
  }

  public static long call(long number, long a, long b) {
    return call(number, a, b, 0, 0, 0, 0);
  }

  public static long call(long number, long a, long b, long c) {
    return call(number, a, b, c, 0, 0, 0);
  }

  public static long call(long number, long a, long b, long c, long d) {
    return call(number, a, b, c, d, 0, 0);
  }

  public static long call(long number, long a, long b, long c, long d, long e) {
    return call(number, a, b, c, d, e, 0);
  }

  /** Returns what the kernel returned: a result, or {@code -errno}. */
  public static long call(long number, long a, long b, long c, long d, long e, long f) {
    try {
      return (long) SYSCALL.invokeExact(number, a, b, c, d, e, f);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  /** A page that can be executed and no longer written, as the JVM's own compiled code; it stays for the life of the process. */
  private static MemorySegment code() {
    String arch = System.getProperty("os.arch", "");
    if (!arch.equals("amd64")) {
      throw new UnsupportedOperationException("this machine is " + arch + ", Dyad runs on x86-64");
    }
    Linker linker = Linker.nativeLinker();
    MethodHandle libc =
        linker.downcallHandle(
            linker.defaultLookup().findOrThrow("syscall"),
            FunctionDescriptor.of(
                JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG),
            Linker.Option.captureCallState("errno"),
            Linker.Option.firstVariadicArg(1));
    int protection = PROT_READ() | PROT_WRITE();
    int flags = MAP_PRIVATE() | MAP_ANONYMOUS();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(Linker.Option.captureStateLayout());
      long page = (long) libc.invokeExact(errno, (long) SYS_mmap(), 0L, 4096L, (long) protection, (long) flags, -1L, 0L);
      if (page == -1) {
        throw new NativeException("mmap", errno.get(JAVA_INT, 0), "a page for the system call stub");
      }
      MemorySegment code = MemorySegment.ofAddress(page).reinterpret(CODE.length);
      MemorySegment.copy(CODE, 0, code, ValueLayout.JAVA_BYTE, 0, CODE.length);
      int executable = PROT_READ() | PROT_EXEC();
      if ((long) libc.invokeExact(errno, (long) SYS_mprotect(), page, 4096L, (long) executable, 0L, 0L, 0L) == -1) {
        throw new NativeException("mprotect", errno.get(JAVA_INT, 0), "a page for the system call stub, to be executed");
      }
      return code;
    } catch (Throwable t) {
      if (t instanceof NativeException refused) {
        throw refused;
      }
      throw unexpected(t);
    }
  }

  /** A downcall itself never throws; what comes out of one is the JVM's own error. */
  static Error unexpected(Throwable thrown) {
    return thrown instanceof Error error ? error : new AssertionError(thrown);
  }
}
