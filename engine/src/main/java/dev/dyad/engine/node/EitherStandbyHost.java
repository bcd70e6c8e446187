package dev.dyad.engine.node;

import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;

/** A standby for whatever machine the primary runs: a QEMU or a microVM. Control thread. */
public final class EitherStandbyHost implements StandbyNode.Host {
  private final QemuStandbyHost qemu;
  private final KvmStandbyHost kvm;

  public EitherStandbyHost(QemuStandbyHost qemu, KvmStandbyHost kvm) {
    this.qemu = qemu;
    this.kvm = kvm;
  }

  @Override
  public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
    return (kind == ProtectedMicroVm.MACHINE_KIND ? kvm : qemu).build(kind, envelope, memory);
  }

  @Override
  public Arbiter arbiter(MachineEnvelope envelope) {
    return kvm.arbiter(envelope); // both take the same file
  }

  @Override
  public String identity(StandbyMachine machine) {
    return (KvmStandbyHost.isMicroVm(machine) ? kvm : qemu).identity(machine);
  }
}
