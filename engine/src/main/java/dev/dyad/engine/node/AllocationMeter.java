package dev.dyad.engine.node;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import org.jspecify.annotations.Nullable;

/**
 * What the epoch thread allocates on the heap for each epoch, over windows between reports. Control thread.
 *
 * <p>The windows show the steady state: what starting and compiling allocate lies in the first.
 */
final class AllocationMeter {
  private static final long WINDOW_EPOCHS = 100;

  private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
  private final long threadId;
  private long epochsBefore;
  private long bytesBefore;
  private @Nullable Double latest;

  AllocationMeter(long threadId) {
    this.threadId = threadId;
  }

  /** Since the thread began; −1 when it has ended. */
  long bytes() {
    return threads.getThreadAllocatedBytes(threadId);
  }

  /** Of the newest window of {@value WINDOW_EPOCHS} epochs or more; null before the first whole one. */
  synchronized @Nullable Double bytesPerEpoch(long epochs) {
    if (epochs - epochsBefore >= WINDOW_EPOCHS) {
      long bytes = threads.getThreadAllocatedBytes(threadId);
      if (epochsBefore > 0 && bytes >= bytesBefore) {
        latest = (double) (bytes - bytesBefore) / (epochs - epochsBefore);
      }
      epochsBefore = epochs;
      bytesBefore = bytes;
    }
    return latest;
  }
}
