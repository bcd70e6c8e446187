package dev.dyad.perf.kvm;

/**
 * One guest to measure.
 *
 * @param pages that the guest writes in each epoch, over all vCPUs
 */
record KvmCase(long pages, int memoryMib, int vcpus) {
  @Override
  public String toString() {
    return pages + " pages, " + memoryMib + " MiB, " + vcpus + (vcpus == 1 ? " vCPU" : " vCPUs");
  }
}
