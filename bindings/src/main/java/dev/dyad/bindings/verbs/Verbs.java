package dev.dyad.bindings.verbs;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.dyad.bindings.linux.NativeException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/**
 * The functions of libibverbs and librdmacm that are called while setting up and tearing down, by name, and the shapes of the
 * three of the data path. Any thread. Arguments are words: on x86-64 an int or a pointer is the same register.
 */
public final class Verbs {

  private static final Linker LINKER = Linker.nativeLinker();
  private static final String UNAVAILABLE;
  private static final SymbolLookup LIBRARIES;

  static {
    SymbolLookup libraries = name -> java.util.Optional.empty();
    String reason = "";
    try {
      // Global on purpose: a library with kernel objects behind it is never unloaded.
      libraries = SymbolLookup.libraryLookup("libibverbs.so.1", Arena.global())
          .or(SymbolLookup.libraryLookup("librdmacm.so.1", Arena.global()));
    } catch (IllegalArgumentException e) {
      reason = "libibverbs.so.1 or librdmacm.so.1 is not installed: apt-get install libibverbs1 librdmacm1 ibverbs-providers";
    }
    LIBRARIES = libraries;
    UNAVAILABLE = reason;
  }

  private static final MethodHandle[] BY_ARITY = new MethodHandle[9];

  static {
    var option = Linker.Option.captureCallState("errno");
    for (int arity = 1; arity < BY_ARITY.length; arity++) {
      MemoryLayout[] words = new MemoryLayout[arity];
      java.util.Arrays.fill(words, JAVA_LONG);
      BY_ARITY[arity] = LINKER.downcallHandle(FunctionDescriptor.of(JAVA_LONG, words), option)
          .asSpreader(long[].class, arity);
    }
  }

  private static final MethodHandle WORD_POINTER_WORD_WORD =
      LINKER.downcallHandle(FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG));
  private static final MethodHandle POLL =
      LINKER.downcallHandle(FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_LONG));
  private static final MethodHandle NOTIFY = LINKER.downcallHandle(FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_INT));

  /** Waiting must not allocate either; its own class, because without the libraries there is nothing to link. */
  private static final class Notifications {
    private static final MethodHandle GET = LINKER.downcallHandle(
        LIBRARIES.findOrThrow("ibv_get_cq_event"), FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG));
    private static final MethodHandle ACKNOWLEDGE = LINKER.downcallHandle(
        LIBRARIES.findOrThrow("ibv_ack_cq_events"), FunctionDescriptor.ofVoid(JAVA_LONG, JAVA_INT));
  }

  private Verbs() {}

  /** Why verbs cannot be used here, in one line; empty when they can. */
  public static String unavailable() {
    return UNAVAILABLE;
  }

  /** The result of one call of the control plane. */
  record Result(long value, int errno) {}

  /** Calls a function by its name; allocates. */
  static Result call(String function, long... words) {
    if (!UNAVAILABLE.isEmpty()) {
      throw new IllegalStateException(UNAVAILABLE);
    }
    MemorySegment target = LIBRARIES.find(function).orElseThrow(() -> new IllegalStateException(function + " is not in this libibverbs"));
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = arena.allocate(Linker.Option.captureStateLayout());
      long value = (long) BY_ARITY[words.length].invoke(target, errno, words);
      return new Result(value, errno.get(JAVA_INT, 0));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  /** For functions that return a pointer, and NULL with errno. */
  static long pointer(String function, String detail, long... words) {
    Result result = call(function, words);
    if (result.value == 0) {
      throw new NativeException(function, result.errno, detail);
    }
    return result.value;
  }

  /** For functions that return 0, a positive errno, or −1 with errno; gives 0 or a positive errno. */
  static int status(String function, long... words) {
    Result result = call(function, words);
    int value = (int) result.value;
    return value == -1 ? result.errno : value < 0 ? -value : value;
  }

  /** As {@link #status}, but insists on success. */
  static void check(String function, String detail, long... words) {
    int errno = status(function, words);
    if (errno != 0) {
      throw new NativeException(function, errno, detail);
    }
  }

  /** {@code post_send} and {@code post_recv}: queue pair, first work request, where to put the first that failed. */
  static int post(MemorySegment function, long queuePair, long work, long failed) {
    try {
      return (int) WORD_POINTER_WORD_WORD.invokeExact(function, queuePair, work, failed);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  static int poll(MemorySegment function, long queue, int entries, long completions) {
    try {
      return (int) POLL.invokeExact(function, queue, entries, completions);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  static int requestNotify(MemorySegment function, long queue, int solicitedOnly) {
    try {
      return (int) NOTIFY.invokeExact(function, queue, solicitedOnly);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  /** ibv_get_cq_event(3); 0 when there was one. */
  static int notification(long channel, long queue, long cookie) {
    try {
      return (int) Notifications.GET.invokeExact(channel, queue, cookie);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  static void acknowledge(long queue, int count) {
    try {
      Notifications.ACKNOWLEDGE.invokeExact(queue, count);
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private static Error unexpected(Throwable thrown) {
    return thrown instanceof Error error ? error : new AssertionError(thrown);
  }
}
