package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import java.util.ArrayList;
import java.util.List;

/**
 * What this kernel's KVM can do, asked once.
 *
 * @param vcpusMax most vCPUs of one machine
 * @param memslots most memory slots of one machine
 * @param dirtyRingBytesMax largest dirty ring of a vCPU; 0: no ring with acquire/release order
 * @param manualDirtyProtect whether KVM_CLEAR_DIRTY_LOG exists
 * @param immediateExit whether a kick just before KVM_RUN can be kept
 * @param syncRegs KVM_SYNC_X86_* that {@code kvm_run} can carry
 * @param sregs2 KVM_GET_SREGS2
 * @param xsaveBytes size of the XSAVE state; KVM_CAP_XSAVE2's figure, 4,096 where it is older
 * @param xcrs KVM_GET_XCRS
 * @param irqChip PIC, IOAPIC, LAPIC, PIT in the kernel, with their state
 * @param irqFd interrupts and doorbells by eventfd
 * @param signalMsi KVM_SIGNAL_MSI
 * @param adjustClock KVM_SET_CLOCK
 * @param tscDeadline LAPIC timer in deadline mode
 * @param tscControl KVM_SET_TSC_KHZ
 */
public record KvmCapabilities(
    int vcpusMax,
    int memslots,
    int dirtyRingBytesMax,
    boolean manualDirtyProtect,
    boolean immediateExit,
    int syncRegs,
    boolean sregs2,
    int xsaveBytes,
    boolean xcrs,
    boolean irqChip,
    boolean irqFd,
    boolean signalMsi,
    boolean adjustClock,
    boolean tscDeadline,
    boolean tscControl) {

  /** Size of {@code struct kvm_xsave} without the extended part. */
  private static final int XSAVE_BYTES_MIN = 4096;

  public static KvmCapabilities probe(Kvm kvm) {
    return new KvmCapabilities(
        kvm.extension(KVM_CAP_MAX_VCPUS()),
        kvm.extension(KVM_CAP_NR_MEMSLOTS()),
        kvm.extension(KVM_CAP_DIRTY_LOG_RING_ACQ_REL()),
        kvm.extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2()) != 0,
        kvm.extension(KVM_CAP_IMMEDIATE_EXIT()) != 0,
        kvm.extension(KVM_CAP_SYNC_REGS()),
        kvm.extension(KVM_CAP_SREGS2()) != 0,
        Math.max(XSAVE_BYTES_MIN, kvm.extension(KVM_CAP_XSAVE2())),
        kvm.extension(KVM_CAP_XCRS()) != 0,
        kvm.extension(KVM_CAP_IRQCHIP()) != 0 && kvm.extension(KVM_CAP_PIT_STATE2()) != 0,
        kvm.extension(KVM_CAP_IRQFD()) != 0 && kvm.extension(KVM_CAP_IOEVENTFD()) != 0,
        kvm.extension(KVM_CAP_SIGNAL_MSI()) != 0,
        kvm.extension(KVM_CAP_ADJUST_CLOCK()) != 0,
        kvm.extension(KVM_CAP_TSC_DEADLINE_TIMER()) != 0,
        kvm.extension(KVM_CAP_TSC_CONTROL()) != 0);
  }

  public boolean dirtyRing() {
    return dirtyRingBytesMax > 0;
  }

  /** What a protected machine needs and this kernel has not, by the names of the kernel's capabilities. */
  public List<String> missing() {
    List<String> missing = new ArrayList<>();
    need(missing, dirtyRing() || manualDirtyProtect, "KVM_CAP_DIRTY_LOG_RING_ACQ_REL or KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
    need(missing, immediateExit, "KVM_CAP_IMMEDIATE_EXIT");
    need(missing, sregs2, "KVM_CAP_SREGS2");
    need(missing, xcrs, "KVM_CAP_XCRS");
    need(missing, irqChip, "KVM_CAP_IRQCHIP");
    need(missing, irqFd, "KVM_CAP_IRQFD");
    need(missing, adjustClock, "KVM_CAP_ADJUST_CLOCK");
    return missing;
  }

  private static void need(List<String> missing, boolean there, String name) {
    if (!there) {
      missing.add(name);
    }
  }
}
