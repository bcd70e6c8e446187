package dev.dyad.engine.vm.kvm;

/**
 * The shape of a microVM. Primary and standby are built from equal ones.
 *
 * @param memoryBytes guest memory, a multiple of 2 MiB
 * @param vcpus number of vCPUs
 * @param tracker how dirty pages are found; may differ between the hosts
 * @param ringEntries size of each vCPU's dirty ring, a power of two; at most {@code KvmCapabilities.dirtyRingBytesMax} / 16
 * @param hugePages guest memory from the host's pool of 2 MiB pages
 * @param mac the card's address, 6 bytes as the low part; 0: no card
 * @param spins turns that a thread spins at the pause before it sleeps; 0 where cores are not to spare
 * @param techniques of the pause
 */
public record MicroVmConfig(
    long memoryBytes, int vcpus, Tracker tracker, int ringEntries, boolean hugePages, long mac, int spins, Techniques techniques) {

  /** Kinds of dirty tracking. */
  public enum Tracker {
    /** The ring where the kernel has it, else the log. */
    BEST,
    RING,
    LOG
  }

  public static final int RING_ENTRIES = 65536;

  /** The first address of the locally administered range, and the number 1. */
  public static final long MAC = 0x02_64_79_61_64_01L;

  /** As good as it gets on this host. */
  public static MicroVmConfig of(long memoryBytes, int vcpus) {
    int idle = Runtime.getRuntime().availableProcessors() - vcpus - 1;
    return new MicroVmConfig(memoryBytes, vcpus, Tracker.BEST, RING_ENTRIES, false, MAC, idle > 0 ? 4000 : 0, Techniques.USUAL);
  }

  public MicroVmConfig withTracker(Tracker other) {
    return new MicroVmConfig(memoryBytes, vcpus, other, ringEntries, hugePages, mac, spins, techniques);
  }

  public MicroVmConfig withRingEntries(int entries) {
    return new MicroVmConfig(memoryBytes, vcpus, tracker, entries, hugePages, mac, spins, techniques);
  }

  public MicroVmConfig withHugePages(boolean huge) {
    return new MicroVmConfig(memoryBytes, vcpus, tracker, ringEntries, huge, mac, spins, techniques);
  }

  public MicroVmConfig withMac(long address) {
    return new MicroVmConfig(memoryBytes, vcpus, tracker, ringEntries, hugePages, address, spins, techniques);
  }

  public MicroVmConfig withSpins(int turns) {
    return new MicroVmConfig(memoryBytes, vcpus, tracker, ringEntries, hugePages, mac, turns, techniques);
  }

  public MicroVmConfig withTechniques(Techniques other) {
    return new MicroVmConfig(memoryBytes, vcpus, tracker, ringEntries, hugePages, mac, spins, other);
  }
}
