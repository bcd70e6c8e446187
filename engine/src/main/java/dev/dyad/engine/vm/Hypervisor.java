package dev.dyad.engine.vm;

/**
 * The port to whatever runs the guest on the primary. The epoch thread calls it, and nobody else.
 *
 * <p>One epoch is {@code pause → harvest → copyPages → captureState → resume}; the time from {@link #pause} to the return of
 * {@link #resume} is what the guest does not run. While the guest runs, {@code harvest} and {@code copyPages} may be called
 * too (speculative shipping): a page that is written during or after such a copy is reported again by the next harvest.
 */
public interface Hypervisor extends AutoCloseable {

  /** What is replicated. Constant from attach to close. */
  GuestMemory memory();

  /**
   * Has {@code sign} run every so often for as long as a call of this port waits for a guest that is slow to stop or to answer. To be told once, before the first
   * pause; a hypervisor that never waits long need not heed it.
   */
  default void whileWaiting(Runnable sign, long everyNanos) {}

  /** Starts tracking writes. Until the first harvest every page counts as written, so a baseline must follow. */
  void startTracking();

  /** Stops the vCPUs; on return no vCPU and no device writes guest memory. Of a halted guest it only takes hold. */
  void pause();

  /**
   * Adds the pages written since the last harvest to {@code into} and re-arms tracking for exactly these, in one step for each page.
   *
   * @return false when {@code into} was full: what did not fit stays dirty and comes with the next harvest
   */
  boolean harvest(DirtyPages into);

  /**
   * Copies the pages, in the order of their runs and without gaps, to {@code destination}.
   *
   * @param destination address of {@code pages.pageCount()} × 4 KiB in this process
   */
  void copyPages(DirtyPages pages, long destination);

  /**
   * The same at an epoch's end, where {@link #finishCopies} follows the resume: copies may be made as late as that.
   */
  default void copyAtEnd(DirtyPages pages, long destination) {
    copyPages(pages, destination);
  }

  /** Makes the copies that {@link #copyAtEnd} put off; the guest runs. On return all are there. */
  default void finishCopies() {}

  /**
   * Writes CPU and device state of the paused machine to {@code destination}.
   *
   * @param bytesMax room at {@code destination}
   * @return bytes written
   */
  int captureState(long destination, int bytesMax);

  /** Ends the pause: the vCPUs run on, unless the guest is halted. */
  void resume();

  /**
   * How long the guest stood still in the last pause, where the hypervisor knows it better than its caller, who also waited for the
   * request to be taken up and for the answer to arrive.
   *
   * @param callerNanos from the call of {@link #pause} to the return of {@link #resume}
   */
  default long standstillNanos(long callerNanos) {
    return callerNanos;
  }

  /** Stops the vCPUs until {@link #unhalt}, pauses of epochs apart: while it is undecided who goes on, or for good after a fence. */
  void halt();

  /** Lets a halted guest run on. */
  void unhalt();

  /** Stops tracking and lets go of the guest, which runs on unharmed (a guest of our own process ends). */
  @Override
  void close();
}
