package dev.dyad.engine.vm;

/**
 * The port to the machine that waits on the standby: its memory is the replica, its vCPUs have not run yet.
 *
 * <p>Memory is written through {@link #hostVirt(int)} while it waits. {@link #promote} is called once, after the last whole
 * epoch was applied.
 */
public interface StandbyMachine extends AutoCloseable {

  /** What it was built for; equal, block by block, to the primary's. */
  GuestMemory memory();

  /**
   * @param block index into {@code memory().blocks()}
   * @return address in this process at which that block can be written
   */
  long hostVirt(int block);

  /**
   * Loads the machine state and lets the guest run from exactly there.
   *
   * @param state address of the state as captured by {@link Hypervisor#captureState}
   * @param bytes its length
   */
  void promote(long state, int bytes);

  /** Ends the machine, promoted or not. */
  @Override
  void close();
}
