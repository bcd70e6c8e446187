package dev.dyad.engine;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.stream.LongStream;

/**
 * What work that is done over and over allocates on some threads once it is steady.
 *
 * <p>The same work is measured in windows, and the best one counts: linking a call for the first time allocates, and when the JIT compiler undoes a compilation,
 * the frame that goes back to the interpreter gets the objects back that had been removed. Either happens once; what the work itself allocates shows in every window.
 */
public final class SteadyAllocation {
  private static final int WINDOWS_MAX = 8;
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  /** A window of the work: done by the calling thread, or waited for while others do it. */
  @FunctionalInterface
  public interface Window<X extends Exception> {
    void run() throws X;
  }

  private SteadyAllocation() {}

  /** Bytes on the calling thread in the best window. */
  public static <X extends Exception> long bytes(Window<X> window) throws X {
    return bytes(new long[] {Thread.currentThread().threadId()}, window)[0];
  }

  /** Bytes on each of the threads {@code ids} in the best window. */
  public static <X extends Exception> long[] bytes(long[] ids, Window<X> window) throws X {
    long[] best = bytesOnce(ids, window);
    for (int i = 1; i < WINDOWS_MAX && sum(best) > 0; i++) {
      long[] bytes = bytesOnce(ids, window);
      best = sum(bytes) < sum(best) ? bytes : best;
    }
    return best;
  }

  private static <X extends Exception> long[] bytesOnce(long[] ids, Window<X> window) throws X {
    int own = LongStream.of(ids).boxed().toList().indexOf(Thread.currentThread().threadId());
    long[] first = THREADS.getThreadAllocatedBytes(ids);
    long[] before = THREADS.getThreadAllocatedBytes(ids);
    window.run();
    long[] after = THREADS.getThreadAllocatedBytes(ids);
    // asking allocates as well, on the thread that asks
    Arrays.setAll(after, i -> i == own ? after[i] - 2 * before[i] + first[i] : after[i] - before[i]);
    return after;
  }

  private static long sum(long[] bytes) {
    return Arrays.stream(bytes).sum();
  }
}
