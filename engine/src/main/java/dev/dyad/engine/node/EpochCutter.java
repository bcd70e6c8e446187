package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.observe.EpochTrace;
import dev.dyad.engine.observe.EpochMetrics.PausePart;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;

/**
 * Ends an epoch of the guest: kick, harvest, copy, capture, resume; and keeps what was copied until it is shipped.
 *
 * <p>Thread: epoch. Owns the snapshot (copies of the pages written in the epoch) and the state image; there is one of each, so an
 * epoch must be encoded before the next one ends. Allocates nothing after construction. Knows nothing of links and output.
 *
 * <p>The first page of the state block is the node's ({@link #nodePage}), the hypervisor's state follows.
 */
public final class EpochCutter implements AutoCloseable {
  /** Offset of the hypervisor's state in the state block. */
  static final int NODE_BYTES = GuestMemory.PAGE_BYTES;

  /** 2 MiB of runs: more scattered pages than any snapshot holds. */
  private static final int RUNS_MAX = 1 << 18;

  /** Takes pages that do not fit the snapshot while the guest is still paused. */
  public interface Overflow {
    /** Ships all of {@code pages} from {@code copies}; both may be reused on return. */
    void ship(DirtyPages pages, long copies);
  }

  private final Hypervisor hypervisor;
  private final int snapshotPages;
  private final Mapping snapshot;
  private final Mapping state;
  private final DirtyPages dirty = new DirtyPages(RUNS_MAX);
  private final DirtyPages slice = new DirtyPages(RUNS_MAX);
  private final DirtyPages statePages = new DirtyPages(64);
  private final PageSlices slices = new PageSlices();

  private int stateBytes;
  private long pages;

  // The last pause and its parts.
  private long cutNanos;
  private long pauseNanos;
  private long stopNanos;
  private long scanNanos;
  private long copyNanos;
  private long stateNanos;
  private long resumeNanos;

  public EpochCutter(Hypervisor hypervisor, int snapshotPages) {
    this.hypervisor = hypervisor;
    this.snapshotPages = snapshotPages;
    snapshot = Mapping.anonymousLarge((long) snapshotPages << GuestMemory.PAGE_SHIFT);
    state = Mapping.anonymousLarge(hypervisor.memory().state().bytes());
  }

  /**
   * Ends the running epoch.
   *
   * @param sealed called once while the guest is paused: what the guest sends from then on belongs to the next epoch
   */
  public void cut(Runnable sealed, Overflow overflow) {
    long start = System.nanoTime();
    hypervisor.pause();
    sealed.run();
    long mark = System.nanoTime();
    stopNanos = mark - start;
    scanNanos = 0;
    copyNanos = 0;
    pages = 0;
    boolean complete;
    do {
      dirty.clear();
      complete = hypervisor.harvest(dirty);
      pages += dirty.pageCount();
      long scanned = System.nanoTime();
      scanNanos += scanned - mark;
      if (complete && dirty.pageCount() <= snapshotPages) {
        hypervisor.copyAtEnd(dirty, snapshot.hostVirt());
      } else {
        slices.begin(dirty);
        while (slices.next(slice, snapshotPages)) {
          hypervisor.copyPages(slice, snapshot.hostVirt());
          overflow.ship(slice, snapshot.hostVirt());
        }
        dirty.clear();
      }
      mark = System.nanoTime();
      copyNanos += mark - scanned;
    } while (!complete);
    int room = (int) state.bytes() - NODE_BYTES;
    stateBytes = NODE_BYTES + hypervisor.captureState(state.hostVirt() + NODE_BYTES, room);
    long saved = System.nanoTime();
    stateNanos = saved - mark;
    hypervisor.resume();
    long end = System.nanoTime();
    resumeNanos = end - saved;
    cutNanos = end - start;
    pauseNanos = hypervisor.standstillNanos(cutNanos);
    hypervisor.finishCopies();
    statePages.clear();
    statePages.add(hypervisor.memory().state().firstPage(), (stateBytes + GuestMemory.PAGE_BYTES - 1) >>> GuestMemory.PAGE_SHIFT);
  }

  /** Pages of RAM copied at the last cut, in the order of {@link #snapshotVirt}. */
  public DirtyPages ramPages() {
    return dirty;
  }

  public long snapshotVirt() {
    return snapshot.hostVirt();
  }

  /** Pages of the state block in use, in the order of {@link #stateVirt}. */
  public DirtyPages statePages() {
    return statePages;
  }

  public long stateVirt() {
    return state.hostVirt();
  }

  /** Address of the page in which the node keeps what the standby needs besides the hypervisor's state. */
  long nodePage() {
    return state.hostVirt();
  }

  public int stateBytes() {
    return stateBytes;
  }

  /** Records the last cut. */
  public void report(EpochMetrics metrics) {
    metrics.sealed(pauseNanos, pages);
    metrics.cut(cutNanos);
    metrics.pausePart(PausePart.STOP, stopNanos);
    metrics.pausePart(PausePart.SCAN, scanNanos);
    metrics.pausePart(PausePart.COPY, copyNanos);
    metrics.pausePart(PausePart.STATE, stateNanos);
    metrics.pausePart(PausePart.RESUME, resumeNanos);
  }

  /** Notes the last cut, which sealed {@code epoch} at {@code nanos}. */
  void trace(EpochTrace trace, long epoch, long nanos) {
    trace.sealed(epoch, nanos, pauseNanos, stopNanos, scanNanos, copyNanos, stateNanos, resumeNanos, pages);
  }

  /** How long the guest stood still at the last cut; the parts follow. */
  public long pauseNanos() {
    return pauseNanos;
  }

  public long stopNanos() {
    return stopNanos;
  }

  public long scanNanos() {
    return scanNanos;
  }

  public long copyNanos() {
    return copyNanos;
  }

  public long stateNanos() {
    return stateNanos;
  }

  public long resumeNanos() {
    return resumeNanos;
  }

  /** Pages of RAM written in the last epoch. */
  public long pages() {
    return pages;
  }

  @Override
  public void close() {
    snapshot.close();
    state.close();
  }
}
