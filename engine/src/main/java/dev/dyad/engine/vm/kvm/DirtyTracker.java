package dev.dyad.engine.vm.kvm;

import dev.dyad.engine.vm.DirtyPages;

/**
 * Finds the pages that the guest has written. Two kinds: the vCPUs' rings ({@link RingTracker}), whose cost goes with the pages
 * written, and the slots' bitmaps ({@link LogTracker}), whose cost goes with the guest's size but which any kernel has.
 *
 * <p>The epoch thread's, but for {@link #ringFull}.
 */
interface DirtyTracker extends AutoCloseable {

  /** Begins. What was written before is not reported: everything has to be copied once, after this. */
  void start();

  /**
   * As {@link dev.dyad.engine.vm.Hypervisor#harvest}; what devices of this process wrote is included.
   *
   * @param paused whether the machine is: an epoch ends
   */
  boolean harvest(DirtyPages into, boolean paused);

  /** A vCPU cannot go on before its ring has room. Called by the thread of that vCPU. */
  void ringFull();

  /** Times that a vCPU met a full ring. */
  long ringFullCount();

  void stop();

  @Override
  void close();
}
