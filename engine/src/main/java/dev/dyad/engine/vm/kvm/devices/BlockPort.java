package dev.dyad.engine.vm.kvm.devices;

/** The disk behind a {@link VirtioBlock}. Called under the card's monitor by vCPU threads: starts, never waits, allocates nothing. */
public interface BlockPort {

  /** Constant size in sectors of 512 bytes. */
  long sectors();

  /** Constant unit of requests, a power of two of at least 512. */
  default int blockBytes() {
    return 512;
  }

  /**
   * Starts a request. Its end is told with {@link VirtioBlock#complete}, by any thread, also from within this call.
   *
   * <p>After a take-over, what was under way comes once more: a write that is done twice must end as one that is done once.
   */
  void submit(BlockRequest request);
}
