package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_SYNC_X86_EVENTS;
import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_SYNC_X86_REGS;

import dev.dyad.bindings.abi.kvm.kvm_msr_entry;
import dev.dyad.bindings.abi.kvm.kvm_msrs;
import dev.dyad.bindings.abi.kvm.kvm_regs;
import dev.dyad.bindings.abi.kvm.kvm_vcpu_events;
import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;

/**
 * One vCPU's complete state: captured by its own thread into a block of its own, restored from an image in the order that KVM needs.
 *
 * <p>Order of restoring: XCRS before the XSAVE area (it says which parts of it count), SREGS before the LAPIC (the APIC's base and
 * mode), the LAPIC before the MSRs, of which TSC_DEADLINE comes last: written while the LAPIC's timer is not yet in deadline
 * mode it is dropped without a word, and the guest's clock stands still.
 */
final class VcpuState implements AutoCloseable {
  /** What a state consists of, in the order of restoring. */
  enum Part {
    SREGS,
    XCRS,
    XSAVE,
    REGS,
    LAPIC,
    MSRS,
    DEBUGREGS,
    EVENTS,
    MP_STATE
  }

  static final int MSR_TSC_DEADLINE = 0x6e0;

  /** Registers that the kernel leaves in the shared area at each exit: two calls less in the pause. */
  static final long SYNCED = KVM_SYNC_X86_REGS() | KVM_SYNC_X86_EVENTS();

  private static final long ENTRIES = kvm_msrs.sizeof();
  private static final long ENTRY_BYTES = kvm_msr_entry.sizeof();
  private static final long INDEX = kvm_msr_entry.index$offset();
  private static final long DATA = kvm_msr_entry.data$offset();
  private static final long REGS_BYTES = kvm_regs.sizeof();
  private static final long EVENTS_BYTES = kvm_vcpu_events.sizeof();

  private final KvmVcpu vcpu;
  private final StateLayout layout;
  private final boolean synced;
  private final Mapping block;
  private final long base;

  /**
   * @param msrIndices what is captured besides, TSC_DEADLINE last
   * @param synced whether {@link #SYNCED} is on for this vCPU
   */
  VcpuState(KvmVcpu vcpu, StateLayout layout, int[] msrIndices, boolean synced) {
    this.vcpu = vcpu;
    this.layout = layout;
    this.synced = synced;
    block = Mapping.anonymous(layout.vcpuBytes + 4095 & -4096L);
    base = block.hostVirt();
    Memory.putInt(base + layout.msrs + kvm_msrs.nmsrs$offset(), msrIndices.length);
    for (int i = 0; i < msrIndices.length; i++) {
      Memory.putInt(base + layout.msrs + ENTRIES + i * ENTRY_BYTES + INDEX, msrIndices[i]);
    }
  }

  /** Reads everything. The vCPU's thread, outside of KVM_RUN and with nothing to be finished there. */
  void capture() {
    if (synced) {
      Memory.copy(vcpu.area().syncRegs(), base + layout.regs, REGS_BYTES);
      Memory.copy(vcpu.area().syncEvents(), base + layout.events, EVENTS_BYTES);
    } else {
      check(vcpu.getRegs(base + layout.regs), "KVM_GET_REGS");
      check(vcpu.getEvents(base + layout.events), "KVM_GET_VCPU_EVENTS");
    }
    check(vcpu.getSregs2(base + layout.sregs), "KVM_GET_SREGS2");
    check(vcpu.getDebugRegs(base + layout.debugRegs), "KVM_GET_DEBUGREGS");
    check(vcpu.getMpState(base + layout.mpState), "KVM_GET_MP_STATE");
    check(vcpu.getXcrs(base + layout.xcrs), "KVM_GET_XCRS");
    check(vcpu.getXsave(base + layout.xsave), "KVM_GET_XSAVE2");
    check(vcpu.getLapic(base + layout.lapic), "KVM_GET_LAPIC");
    long read = check(vcpu.getMsrs(base + layout.msrs), "KVM_GET_MSRS");
    if (read != layout.msrCount) {
      throw refused("read", base + layout.msrs, read);
    }
  }

  /** Copies what {@link #capture} read to its place in an image. */
  void copyTo(long vcpuPart) {
    Memory.copy(base, vcpuPart, layout.vcpuBytes);
  }

  /** Throws {@link MalformedStateException} unless the image names the registers that this machine has. */
  void check(long vcpuPart) {
    if (Memory.getInt(vcpuPart + layout.msrs + kvm_msrs.nmsrs$offset()) != layout.msrCount) {
      throw new MalformedStateException("machine state: number of MSRs is not the header's");
    }
    for (int i = 0; i < layout.msrCount; i++) {
      long at = layout.msrs + ENTRIES + i * ENTRY_BYTES + INDEX;
      int found = Memory.getInt(vcpuPart + at);
      int needed = Memory.getInt(base + at);
      if (found != needed) {
        throw new MalformedStateException(
            "machine state: MSR 0x" + Integer.toHexString(found) + " where this machine has 0x" + Integer.toHexString(needed));
      }
    }
  }

  /** Writes the given parts in the given order. Before the vCPU runs, by any one thread. */
  void restore(long vcpuPart, Part[] order) {
    for (Part part : order) {
      switch (part) {
        case SREGS -> set(vcpu.setSregs2(vcpuPart + layout.sregs), "KVM_SET_SREGS2");
        case XCRS -> set(vcpu.setXcrs(vcpuPart + layout.xcrs), "KVM_SET_XCRS");
        case XSAVE -> set(vcpu.setXsave(vcpuPart + layout.xsave), "KVM_SET_XSAVE");
        case REGS -> set(vcpu.setRegs(vcpuPart + layout.regs), "KVM_SET_REGS");
        case LAPIC -> set(vcpu.setLapic(vcpuPart + layout.lapic), "KVM_SET_LAPIC");
        case MSRS -> restoreMsrs(vcpuPart + layout.msrs);
        case DEBUGREGS -> set(vcpu.setDebugRegs(vcpuPart + layout.debugRegs), "KVM_SET_DEBUGREGS");
        case EVENTS -> set(vcpu.setEvents(vcpuPart + layout.events), "KVM_SET_VCPU_EVENTS");
        case MP_STATE -> set(vcpu.setMpState(vcpuPart + layout.mpState), "KVM_SET_MP_STATE");
      }
    }
  }

  private void restoreMsrs(long msrs) {
    long written = set(vcpu.setMsrs(msrs), "KVM_SET_MSRS");
    if (written != layout.msrCount) {
      throw refused("written", msrs, written);
    }
  }

  private static MalformedStateException refused(String verb, long msrs, long done) {
    int index = Memory.getInt(msrs + ENTRIES + done * ENTRY_BYTES + INDEX);
    long value = Memory.getLong(msrs + ENTRIES + done * ENTRY_BYTES + DATA);
    return new MalformedStateException(
        "machine state: MSR 0x" + Integer.toHexString(index) + " = 0x" + Long.toHexString(value) + " could not be " + verb);
  }

  private static long check(long result, String call) {
    return result < 0 ? NativeException.check(result, call, "") : result;
  }

  private static long set(long result, String call) {
    if (result < 0) {
      throw new MalformedStateException("machine state: " + new NativeException(call, (int) -result, "").getMessage());
    }
    return result;
  }

  @Override
  public void close() {
    block.close();
  }
}
