package dev.dyad.bindings.linux;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.invoke.MethodHandle;

/**
 * The one door to the kernel: syscall(2) by number, six words in, result or {@code -errno} out, nothing allocated.
 *
 * <p>Any thread. One door instead of a wrapper for each of libc's functions: the kernel's own semantics, the same on every
 * libc, and one compiled call for all. Never linked as {@code critical}: many of the calls sleep, and a GC would wait
 * for them. A call that is interrupted returns {@code -EINTR}; retrying is the caller's policy.
 */
public final class Syscall {

    private static final MethodHandle SYSCALL =
            Linker.nativeLinker()
                    .downcallHandle(
                            Linker.nativeLinker().defaultLookup().findOrThrow("syscall"),
                            FunctionDescriptor.of(
                                    JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG),
                            Linker.Option.captureCallState("errno"),
                            Linker.Option.firstVariadicArg(1));

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

    /** Returns what the kernel returned, or {@code -errno}. */
    public static long call(long number, long a, long b, long c, long d, long e, long f) {
        ThreadScratch scratch = ThreadScratch.mine();
        long result;
        try {
            result = (long) SYSCALL.invokeExact(scratch.errno, number, a, b, c, d, e, f);
        } catch (Throwable t) {
            throw unexpected(t);
        }
        // By address: reading the segment costs 40 B whenever the compiler does not see through it.
        return result == -1 ? -Memory.getInt(scratch.errnoVirt) : result;
    }

    /** A downcall itself never throws; what comes out of one is the JVM's own error. */
    static Error unexpected(Throwable thrown) {
        return thrown instanceof Error error ? error : new AssertionError(thrown);
    }
}
