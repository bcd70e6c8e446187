package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.memory.EpochWriter;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;

/**
 * Brings an empty standby level while the guest runs: all pages once, then what was written meanwhile, round after round, until
 * little is left or rounds do not help any more. All of it belongs to the baseline's epoch, which the next seal ends.
 *
 * <p>Thread: epoch, in steps that are small enough for packets and heartbeats to be served between them.
 */
final class BaselineSender implements AutoCloseable {
  /** Pages of one step: about half a millisecond of copying. */
  private static final int STEP_PAGES = 256;

  /** Bytes on their way at once: what a heartbeat may have to wait behind. */
  private static final long IN_FLIGHT_BYTES_MAX = 4L << 20;

  /** A round of at most so many pages is the last: the pause of the seal then has about as many to copy. */
  private static final long LEVEL_PAGES = 2048;

  private static final int ROUNDS_MAX = 12;
  private static final int RUNS_MAX = 1 << 18;

  private final Hypervisor hypervisor;
  private final EpochWriter writer;
  private final Mapping copies = Mapping.anonymous((long) STEP_PAGES << GuestMemory.PAGE_SHIFT);
  private final DirtyPages round = new DirtyPages(RUNS_MAX);
  private final DirtyPages step = new DirtyPages(STEP_PAGES);
  private final PageSlices slices = new PageSlices();

  private int rounds;
  private boolean lastRound;
  private boolean stepUnderWay;

  BaselineSender(Hypervisor hypervisor, EpochWriter writer) {
    this.hypervisor = hypervisor;
    this.writer = writer;
    hypervisor.startTracking();
    if (!round.add(0, hypervisor.memory().ramPages())) {
      throw new IllegalStateException("guest of " + hypervisor.memory().ramPages() + " pages exceeds the baseline's bound of runs");
    }
    slices.begin(round);
  }

  /** Ships some pages if the link has room. Returns the amount of work done, 0 when it has to wait. */
  int step() {
    if (stepUnderWay) {
      stepUnderWay = !writer.shipPages();
      return stepUnderWay ? 0 : 1;
    }
    if (writer.inFlightBytes() > IN_FLIGHT_BYTES_MAX) {
      return 0;
    }
    if (slices.next(step, STEP_PAGES)) {
      hypervisor.copyPages(step, copies.hostVirt());
      writer.startPages(step, copies.hostVirt());
      stepUnderWay = !writer.shipPages();
      return 1;
    }
    if (!lastRound) {
      round.clear();
      boolean complete = hypervisor.harvest(round);
      rounds++;
      lastRound = (complete && round.pageCount() <= LEVEL_PAGES) || rounds >= ROUNDS_MAX;
      slices.begin(round);
      return 1;
    }
    return 0;
  }

  /** Whether all rounds are shipped: time for the seal. */
  boolean isLevel() {
    return lastRound && !stepUnderWay && slices.left() == 0;
  }

  /** Pages of the present round still to be shipped. */
  long pagesLeft() {
    return slices.left();
  }

  @Override
  public void close() {
    copies.close();
  }
}
