package dev.dyad.engine.vm.kvm;

import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;

/** A {@link MicroVm} that is whole but for its contents: memory is the replica, vCPUs wait at the gate. */
public final class KvmStandby implements StandbyMachine {
  private final MicroVm machine;
  private final GuestMemory memory;

  /** Takes over a machine that has not run. */
  public KvmStandby(MicroVm machine) {
    if (!machine.isPaused()) {
      throw new IllegalArgumentException("a machine that runs cannot wait");
    }
    this.machine = machine;
    memory = KvmPrimary.memoryOf(machine);
  }

  /** The machine; after {@link #promote}, to be protected anew as a {@link KvmPrimary}. */
  public MicroVm machine() {
    return machine;
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public long hostVirt(int block) {
    if (block != 0) {
      throw new IndexOutOfBoundsException("block " + block + " of a machine that has one");
    }
    return machine.ram().hostVirt();
  }

  @Override
  public void promote(long state, int bytes) {
    machine.restore(state, bytes);
    machine.resume();
  }

  @Override
  public void close() {
    machine.close();
  }
}
