package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.memory.EpochWriter;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;

/**
 * Ships during an epoch what the guest has written by then, so that the pause finds only what was written since. A page that is written
 * again comes again, later in the same epoch's stream; one that changes while it is copied does so by a write, and is found again, too.
 *
 * <p>Thread: epoch, in steps small enough for packets and heartbeats to be served between them. Allocates nothing after construction.
 */
public final class EarlyPages implements AutoCloseable {
  /** Pages of one step: about half a millisecond of copying. */
  private static final int STEP_PAGES = 256;

  private static final int RUNS_MAX = 1 << 16;

  private final Hypervisor hypervisor;
  private final long everyNanos;
  private final Mapping copies = Mapping.anonymous((long) STEP_PAGES << GuestMemory.PAGE_SHIFT);
  private final DirtyPages found = new DirtyPages(RUNS_MAX);
  private final DirtyPages step = new DirtyPages(STEP_PAGES);
  private final PageSlices slices = new PageSlices();

  private long sinceNanos;
  private boolean underWay;
  private boolean stepUnderWay;

  /**
   * @param everyNanos a look this long after the epoch's begin or the last look; 0: never
   */
  public EarlyPages(Hypervisor hypervisor, long everyNanos) {
    this.hypervisor = hypervisor;
    this.everyNanos = everyNanos;
  }

  public boolean isOn() {
    return everyNanos > 0;
  }

  /** An epoch begins, or shipping has only now become possible. */
  public void restart(long nowNanos) {
    sinceNanos = nowNanos;
  }

  public long nanosUntilDue(long nowNanos) {
    return sinceNanos + everyNanos - nowNanos;
  }

  /** Whether pages that were found wait to be shipped: their epoch must not be sealed before they are. */
  public boolean isUnderWay() {
    return underWay;
  }

  /** Looks what has been written; {@link #step} ships it. @return the number of pages */
  public long look(long nowNanos) {
    sinceNanos = nowNanos;
    found.clear();
    hypervisor.harvest(found); // what does not fit comes with the next harvest
    slices.begin(found);
    underWay = !found.isEmpty();
    return found.pageCount();
  }

  /** Ships some of the pages if the link has room. @return amount of work done, 0 when it has to wait */
  public int step(EpochWriter writer) {
    if (stepUnderWay) {
      stepUnderWay = !writer.shipPages();
      return stepUnderWay ? 0 : 1;
    }
    if (!slices.next(step, STEP_PAGES)) {
      underWay = false;
      return 1;
    }
    hypervisor.copyPages(step, copies.hostVirt());
    writer.startPages(step, copies.hostVirt());
    stepUnderWay = !writer.shipPages();
    return 1;
  }

  /** The link is gone, and the next one begins with a baseline. */
  void forget() {
    underWay = false;
    stepUnderWay = false;
  }

  @Override
  public void close() {
    copies.close();
  }
}
