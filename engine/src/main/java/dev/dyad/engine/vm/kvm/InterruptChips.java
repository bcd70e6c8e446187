package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.abi.kvm.kvm_clock_data;
import dev.dyad.bindings.abi.kvm.kvm_irqchip;
import dev.dyad.bindings.kvm.KvmVm;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;

/**
 * The machine's part of the state that no vCPU has: both 8259, the IOAPIC, the PIT and the guest's clock. The epoch thread's.
 *
 * <p>The clock goes on from the captured value: the time between capture and restore does not exist for the guest.
 */
final class InterruptChips {
  private static final long CHIP_ID = kvm_irqchip.chip_id$offset();
  private static final long CLOCK_FLAGS = kvm_clock_data.flags$offset();
  private static final long CLOCK_REALTIME = kvm_clock_data.realtime$offset();
  private static final long CLOCK_HOST_TSC = kvm_clock_data.host_tsc$offset();

  private final KvmVm vm;
  private final StateLayout layout;

  InterruptChips(KvmVm vm, StateLayout layout) {
    this.vm = vm;
    this.layout = layout;
  }

  void capture(long image) {
    for (int chip = 0; chip < StateLayout.CHIPS; chip++) {
      long at = image + layout.chip(chip);
      Memory.putLong(at, 0);
      Memory.putInt(at + CHIP_ID, chip);
      NativeException.check(vm.getIrqChip(at), "KVM_GET_IRQCHIP", "");
    }
    NativeException.check(vm.getPit(image + layout.pit), "KVM_GET_PIT2", "");
    long clock = image + layout.clock;
    NativeException.check(vm.getClock(clock), "KVM_GET_CLOCK", "");
    // Only the guest's own time counts on another host; with the flags the kernel would add the time that has passed since.
    Memory.putInt(clock + CLOCK_FLAGS, 0);
    Memory.putLong(clock + CLOCK_REALTIME, 0);
    Memory.putLong(clock + CLOCK_HOST_TSC, 0);
  }

  void restore(long image) {
    for (int chip = 0; chip < StateLayout.CHIPS; chip++) {
      long at = image + layout.chip(chip);
      if (Memory.getInt(at + CHIP_ID) != chip) {
        throw new MalformedStateException("machine state: interrupt chip " + Memory.getInt(at + CHIP_ID) + " in the place of " + chip);
      }
      set(vm.setIrqChip(at), "KVM_SET_IRQCHIP");
    }
    set(vm.setPit(image + layout.pit), "KVM_SET_PIT2");
    if (Memory.getInt(image + layout.clock + CLOCK_FLAGS) != 0) {
      throw new MalformedStateException("machine state: the clock has flags");
    }
    set(vm.setClock(image + layout.clock), "KVM_SET_CLOCK");
  }

  private static void set(long result, String call) {
    if (result < 0) {
      throw new MalformedStateException("machine state: " + new NativeException(call, (int) -result, "").getMessage());
    }
  }
}
