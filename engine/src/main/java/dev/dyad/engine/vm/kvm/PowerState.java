package dev.dyad.engine.vm.kvm;

/** Whether the guest still wants to run. Part of the machine state: a guest that is off stays off on the standby. */
public enum PowerState {
  ON,
  /** It switched itself off. */
  OFF,
  /** It asked for a reset; whoever runs it starts it anew ({@link MicroVm#reset}). */
  RESET,
  /** It reported a fault of its own (pvpanic), or KVM could not go on with it. */
  FAILED
}
