package dev.dyad.bindings.linux;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.nio.charset.StandardCharsets;

/**
 * Native memory by its address ({@code hostVirt}), without objects: peek, poke, copy, compare, and ordered access to words
 * that another thread, process or the kernel reads too.
 *
 * <p>Any thread. Owns nothing and checks nothing: an address that is not mapped ends the JVM, as in C. Who passes an
 * address keeps its owner (a {@link Mapping}, an arena) open meanwhile. Plain access may be unaligned; ordered access needs
 * natural alignment and throws {@link IllegalArgumentException} without it. Bytes are in the machine's order (x86-64:
 * little-endian).
 */
public final class Memory {

  // The whole address space as one segment: a constant, so that its checks fold away and no call makes an object.
  // Safe as far as its users' addresses are.
  private static final MemorySegment ALL = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

  private static final VarHandle INT = JAVA_INT.varHandle().withInvokeExactBehavior();
  private static final VarHandle LONG = JAVA_LONG.varHandle().withInvokeExactBehavior();

  /** Addresses that x86-64 Linux gives to processes, unless they ask for more. */
  private static final long USER_ADDRESSES = (1L << 47) - 1;

  private static final MethodHandle MEMSET =
      Linker.nativeLinker()
          .downcallHandle(
              Linker.nativeLinker().defaultLookup().findOrThrow("memset"),
              FunctionDescriptor.of(JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG));

  private static final MethodHandle MEMCMP =
      Linker.nativeLinker()
          .downcallHandle(
              Linker.nativeLinker().defaultLookup().findOrThrow("memcmp"),
              FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG));

  private static final MethodHandle MEMMOVE =
      Linker.nativeLinker()
          .downcallHandle(
              Linker.nativeLinker().defaultLookup().findOrThrow("memmove"),
              FunctionDescriptor.of(JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG));

  /** From here on the C library copies. A page alone costs the same either way, and Java's own copy needs no call. */
  private static final long COPIED_BY_LIBC_BYTES = 8192;

  private Memory() {}

  /**
   * The same address, for a hot loop to count from. Each access asks whether its address is negative or at the very end, a comparison and a branch beside the load; with 17
   * bits cleared the compiler knows that it is not, and for all that is a known distance behind it, too.
   */
  public static long base(long hostVirt) {
    return hostVirt & USER_ADDRESSES;
  }

  public static byte getByte(long hostVirt) {
    return ALL.get(JAVA_BYTE, hostVirt);
  }

  public static void putByte(long hostVirt, byte value) {
    ALL.set(JAVA_BYTE, hostVirt, value);
  }

  public static short getShort(long hostVirt) {
    return ALL.get(JAVA_SHORT_UNALIGNED, hostVirt);
  }

  public static void putShort(long hostVirt, short value) {
    ALL.set(JAVA_SHORT_UNALIGNED, hostVirt, value);
  }

  public static int getInt(long hostVirt) {
    return ALL.get(JAVA_INT_UNALIGNED, hostVirt);
  }

  public static void putInt(long hostVirt, int value) {
    ALL.set(JAVA_INT_UNALIGNED, hostVirt, value);
  }

  public static long getLong(long hostVirt) {
    return ALL.get(JAVA_LONG_UNALIGNED, hostVirt);
  }

  public static void putLong(long hostVirt, long value) {
    ALL.set(JAVA_LONG_UNALIGNED, hostVirt, value);
  }

  /** Loads with acquire order: what the releasing writer wrote before is seen by what follows. */
  public static int getIntAcquire(long hostVirt) {
    return (int) INT.getAcquire(ALL, hostVirt);
  }

  /** Stores with release order: all earlier reads and writes are done before it. */
  public static void putIntRelease(long hostVirt, int value) {
    INT.setRelease(ALL, hostVirt, value);
  }

  public static int getIntVolatile(long hostVirt) {
    return (int) INT.getVolatile(ALL, hostVirt);
  }

  public static void putIntVolatile(long hostVirt, int value) {
    INT.setVolatile(ALL, hostVirt, value);
  }

  /** Returns the value before. */
  public static int getAndAddInt(long hostVirt, int delta) {
    return (int) INT.getAndAdd(ALL, hostVirt, delta);
  }

  public static boolean compareAndSetInt(long hostVirt, int expected, int value) {
    return INT.compareAndSet(ALL, hostVirt, expected, value);
  }

  /** Loads with acquire order: what the releasing writer wrote before is seen by what follows. */
  public static long getLongAcquire(long hostVirt) {
    return (long) LONG.getAcquire(ALL, hostVirt);
  }

  /** Stores with release order: all earlier reads and writes are done before it. */
  public static void putLongRelease(long hostVirt, long value) {
    LONG.setRelease(ALL, hostVirt, value);
  }

  public static long getLongVolatile(long hostVirt) {
    return (long) LONG.getVolatile(ALL, hostVirt);
  }

  public static void putLongVolatile(long hostVirt, long value) {
    LONG.setVolatile(ALL, hostVirt, value);
  }

  /** Returns the value before. */
  public static long getAndAddLong(long hostVirt, long delta) {
    return (long) LONG.getAndAdd(ALL, hostVirt, delta);
  }

  public static boolean compareAndSetLong(long hostVirt, long expected, long value) {
    return LONG.compareAndSet(ALL, hostVirt, expected, value);
  }

  /**
   * Copies {@code bytes}; the ranges may overlap. Long ones by memmove(3), which leaves the lines that it overwrites unread where the processor can
   * ({@code rep movsb}), and which no safepoint waits for.
   */
  public static void copy(long fromVirt, long toVirt, long bytes) {
    if (bytes < COPIED_BY_LIBC_BYTES) {
      MemorySegment.copy(ALL, fromVirt, ALL, toVirt, bytes);
      return;
    }
    try {
      long ignored = (long) MEMMOVE.invokeExact(toVirt, fromVirt, bytes);
    } catch (Throwable t) {
      throw Syscall.unexpected(t);
    }
  }

  public static void copyFrom(byte[] from, int index, long toVirt, int bytes) {
    MemorySegment.copy(from, index, ALL, JAVA_BYTE, toVirt, bytes);
  }

  public static void copyTo(long fromVirt, byte[] to, int index, int bytes) {
    MemorySegment.copy(ALL, JAVA_BYTE, fromVirt, to, index, bytes);
  }

  /** Sets {@code bytes} bytes. memset(3): {@code MemorySegment.fill} would need a slice, which is an object. */
  public static void fill(long hostVirt, long bytes, byte value) {
    try {
      long ignored = (long) MEMSET.invokeExact(hostVirt, (int) value, bytes);
    } catch (Throwable t) {
      throw Syscall.unexpected(t);
    }
  }

  public static void zero(long hostVirt, long bytes) {
    fill(hostVirt, bytes, (byte) 0);
  }

  /** Returns the offset of the first byte that differs, or -1. */
  public static long mismatch(long leftVirt, long rightVirt, long bytes) {
    return MemorySegment.mismatch(ALL, leftVirt, leftVirt + bytes, ALL, rightVirt, rightVirt + bytes);
  }

  /** memcmp(3): for a page it takes half the time that {@link #mismatch} does, the call included. */
  public static boolean equal(long leftVirt, long rightVirt, long bytes) {
    try {
      return (int) MEMCMP.invokeExact(leftVirt, rightVirt, bytes) == 0;
    } catch (Throwable t) {
      throw Syscall.unexpected(t);
    }
  }

  /** A segment for cold code; allocates. Its life is the caller's to keep within the owner's. */
  public static MemorySegment view(long hostVirt, long bytes) {
    // The length is the caller's word, as for every address given to this class.
    return MemorySegment.ofAddress(hostVirt).reinterpret(bytes);
  }

  /** Reads a NUL-terminated UTF-8 string of less than {@code maxBytes}; allocates. */
  public static String getString(long hostVirt, int maxBytes) {
    int length = 0;
    while (length < maxBytes && getByte(hostVirt + length) != 0) {
      length++;
    }
    byte[] bytes = new byte[length];
    copyTo(hostVirt, bytes, 0, length);
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
