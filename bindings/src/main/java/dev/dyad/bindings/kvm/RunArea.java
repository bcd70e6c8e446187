package dev.dyad.bindings.kvm;

import dev.dyad.bindings.abi.kvm.kvm_run;
import dev.dyad.bindings.abi.kvm.kvm_sync_regs;
import dev.dyad.bindings.linux.Memory;

/**
 * {@code struct kvm_run}: what a vCPU and its thread tell each other around KVM_RUN, by address and without allocation.
 *
 * <p>Belongs to the vCPU's thread; only {@link #setImmediateExit} and {@link #setSyncRegs} may be called by the one that kicks it. Valid until the
 * {@link KvmVcpu} is closed.
 */
public final class RunArea {

  private static final long IMMEDIATE_EXIT = kvm_run.immediate_exit$offset();
  private static final long EXIT_REASON = kvm_run.exit_reason$offset();
  private static final long IO = kvm_run.io$offset();
  private static final long IO_DIRECTION = IO + kvm_run.io.direction$offset();
  private static final long IO_SIZE = IO + kvm_run.io.size$offset();
  private static final long IO_PORT = IO + kvm_run.io.port$offset();
  private static final long IO_COUNT = IO + kvm_run.io.count$offset();
  private static final long IO_DATA = IO + kvm_run.io.data_offset$offset();
  private static final long MMIO = kvm_run.mmio$offset();
  private static final long MMIO_PHYS = MMIO + kvm_run.mmio.phys_addr$offset();
  private static final long MMIO_DATA = MMIO + kvm_run.mmio.data$offset();
  private static final long MMIO_LENGTH = MMIO + kvm_run.mmio.len$offset();
  private static final long MMIO_WRITE = MMIO + kvm_run.mmio.is_write$offset();
  private static final long SUBERROR = kvm_run.internal$offset() + kvm_run.internal.suberror$offset();
  private static final long ENTRY_REASON = kvm_run.fail_entry$offset() + kvm_run.fail_entry.hardware_entry_failure_reason$offset();
  private static final long SYSTEM_EVENT = kvm_run.system_event$offset() + kvm_run.system_event.type$offset();
  private static final long VALID_REGS = kvm_run.kvm_valid_regs$offset();
  private static final long DIRTY_REGS = kvm_run.kvm_dirty_regs$offset();
  private static final long SYNC = kvm_run.s$offset();
  private static final long SYNC_REGS = SYNC + kvm_sync_regs.regs$offset();
  private static final long SYNC_SREGS = SYNC + kvm_sync_regs.sregs$offset();
  private static final long SYNC_EVENTS = SYNC + kvm_sync_regs.events$offset();

  private final long base;

  RunArea(long base) {
    this.base = base;
  }

  /** Lets the next KVM_RUN finish what the last exit began, and return EINTR before any guest code. The kernel reads it. */
  public void setImmediateExit(boolean exit) {
    Memory.putByte(base + IMMEDIATE_EXIT, (byte) (exit ? 1 : 0));
  }

  /** {@code KVM_EXIT_*} of the last KVM_RUN that returned 0. */
  public int exitReason() {
    return Memory.getInt(base + EXIT_REASON);
  }

  public boolean ioIsOut() {
    return Memory.getByte(base + IO_DIRECTION) != 0;
  }

  /** Bytes of one access: 1, 2 or 4. */
  public int ioBytes() {
    return Memory.getByte(base + IO_SIZE);
  }

  public int ioPort() {
    return Memory.getShort(base + IO_PORT) & 0xffff;
  }

  /** Accesses in a row to the same port, one after the other at {@link #ioData}. */
  public int ioCount() {
    return Memory.getInt(base + IO_COUNT);
  }

  /** Address of what is written to, or will be read from, the port. */
  public long ioData() {
    return base + Memory.getLong(base + IO_DATA);
  }

  public long mmioGuestPhys() {
    return Memory.getLong(base + MMIO_PHYS);
  }

  public int mmioBytes() {
    return Memory.getInt(base + MMIO_LENGTH);
  }

  public boolean mmioIsWrite() {
    return Memory.getByte(base + MMIO_WRITE) != 0;
  }

  /** The eight bytes at which an MMIO access carries its value. */
  public long mmioData() {
    return base + MMIO_DATA;
  }

  /** {@code KVM_INTERNAL_ERROR_*} after KVM_EXIT_INTERNAL_ERROR. */
  public int internalSuberror() {
    return Memory.getInt(base + SUBERROR);
  }

  /** The processor's reason after KVM_EXIT_FAIL_ENTRY. */
  public long entryFailure() {
    return Memory.getLong(base + ENTRY_REASON);
  }

  /** {@code KVM_SYSTEM_EVENT_*} after KVM_EXIT_SYSTEM_EVENT. */
  public int systemEvent() {
    return Memory.getInt(base + SYSTEM_EVENT);
  }

  /** Which {@code KVM_SYNC_X86_*} groups the kernel writes into this area at every exit from now on. */
  public void setSyncRegs(long groups) {
    Memory.putLong(base + VALID_REGS, groups);
  }

  /** Which groups the next KVM_RUN takes from this area. */
  public void setDirtyRegs(long groups) {
    Memory.putLong(base + DIRTY_REGS, groups);
  }

  /** {@code struct kvm_regs} of the last exit, with {@code KVM_SYNC_X86_REGS}. */
  public long syncRegs() {
    return base + SYNC_REGS;
  }

  /** {@code struct kvm_sregs} of the last exit, with {@code KVM_SYNC_X86_SREGS}. */
  public long syncSregs() {
    return base + SYNC_SREGS;
  }

  /** {@code struct kvm_vcpu_events} of the last exit, with {@code KVM_SYNC_X86_EVENTS}. */
  public long syncEvents() {
    return base + SYNC_EVENTS;
  }
}
