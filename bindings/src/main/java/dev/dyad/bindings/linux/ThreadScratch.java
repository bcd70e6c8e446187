package dev.dyad.bindings.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A thread's own native memory for one call: {@link #BYTES} for the small structs that a call takes.
 *
 * <p>Belongs to the thread that asks, and is valid until that thread's next call in this package. Contents are left from
 * before. Made on a thread's first call, so warm a thread up before it must not allocate.
 */
final class ThreadScratch {

  /** Enough for the largest argument struct here (statx, 256 bytes) and a path's worth beside it. */
  static final int BYTES = 1024;

  // The life of a thread has no scope to close an arena in, so the collector frees this block after the thread. Neither
  // kernel nor device keeps its address beyond a call.
  private static final ThreadLocal<ThreadScratch> MINE = ThreadLocal.withInitial(ThreadScratch::new);

  private final long address;

  @SuppressWarnings("unused") // keeps the memory behind `address`
  private final MemorySegment block;

  private ThreadScratch() {
    block = Arena.ofAuto().allocate(BYTES, 64);
    address = block.address();
  }

  /** The calling thread's block; not cleared. */
  static long address() {
    return MINE.get().address;
  }
}
