package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import dev.dyad.bindings.abi.kvm.kvm_enable_cap;
import dev.dyad.bindings.abi.kvm.kvm_ioeventfd;
import dev.dyad.bindings.abi.kvm.kvm_irq_level;
import dev.dyad.bindings.abi.kvm.kvm_irqfd;
import dev.dyad.bindings.abi.kvm.kvm_pit_config;
import dev.dyad.bindings.abi.kvm.kvm_userspace_memory_region;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Ioctl;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;

/**
 * Owner of one virtual machine's descriptor. Set-up calls throw; the calls that take the address of a struct return the kernel's
 * result or {@code -errno} and allocate nothing. Closing it does not end the machine while a vCPU's descriptor is open.
 */
public final class KvmVm implements AutoCloseable {

  private final FileDescriptor descriptor;
  private final int vcpuAreaBytes;

  KvmVm(FileDescriptor descriptor, int vcpuAreaBytes) {
    this.descriptor = descriptor;
    this.vcpuAreaBytes = vcpuAreaBytes;
  }

  public int fd() {
    return descriptor.fd();
  }

  /** KVM_ENABLE_CAP. */
  public void enable(int capability, long argument) {
    try (Arena arena = Arena.ofConfined()) {
      long cap = arena.allocate(kvm_enable_cap.layout()).address();
      Memory.putInt(cap + kvm_enable_cap.cap$offset(), capability);
      Memory.putLong(cap + kvm_enable_cap.args$offset(), argument);
      Kvm.check(Ioctl.call(fd(), KVM_ENABLE_CAP(), cap), "KVM_ENABLE_CAP", "cap=" + capability + " argument=" + argument);
    }
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: creates a slot, or changes its flags when the rest is as before.
   *
   * @param flags 0 or {@code KVM_MEM_LOG_DIRTY_PAGES}, {@code KVM_MEM_READONLY}
   * @param bytes 0 removes the slot
   */
  public void setMemory(int slot, int flags, long guestPhys, long bytes, long hostVirt) {
    try (Arena arena = Arena.ofConfined()) {
      long region = arena.allocate(kvm_userspace_memory_region.layout()).address();
      Memory.putInt(region + kvm_userspace_memory_region.slot$offset(), slot);
      Memory.putInt(region + kvm_userspace_memory_region.flags$offset(), flags);
      Memory.putLong(region + kvm_userspace_memory_region.guest_phys_addr$offset(), guestPhys);
      Memory.putLong(region + kvm_userspace_memory_region.memory_size$offset(), bytes);
      Memory.putLong(region + kvm_userspace_memory_region.userspace_addr$offset(), hostVirt);
      Kvm.check(
          Ioctl.call(fd(), KVM_SET_USER_MEMORY_REGION(), region),
          "KVM_SET_USER_MEMORY_REGION",
          "slot=" + slot + " flags=" + flags + " guestPhys=0x" + Long.toHexString(guestPhys) + " bytes=" + bytes);
    }
  }

  /** KVM_SET_TSS_ADDR: three pages that Intel hosts need below 4 GiB, outside of every slot. */
  public void setTssAddress(long guestPhys) {
    Kvm.check(Ioctl.call(fd(), KVM_SET_TSS_ADDR(), guestPhys), "KVM_SET_TSS_ADDR", "0x" + Long.toHexString(guestPhys));
  }

  /** KVM_SET_IDENTITY_MAP_ADDR: one page, as {@link #setTssAddress}; before the first vCPU. */
  public void setIdentityMapAddress(long guestPhys) {
    try (Arena arena = Arena.ofConfined()) {
      long address = arena.allocate(8, 8).address();
      Memory.putLong(address, guestPhys);
      Kvm.check(Ioctl.call(fd(), KVM_SET_IDENTITY_MAP_ADDR(), address), "KVM_SET_IDENTITY_MAP_ADDR", "0x" + Long.toHexString(guestPhys));
    }
  }

  /** KVM_CREATE_IRQCHIP: two 8259, an IOAPIC, and a LAPIC for each vCPU made afterwards. */
  public void createIrqChip() {
    Kvm.check(Ioctl.call(fd(), KVM_CREATE_IRQCHIP(), 0), "KVM_CREATE_IRQCHIP", "");
  }

  /** KVM_CREATE_PIT2; port 0x61 is answered by the kernel too. */
  public void createPit() {
    try (Arena arena = Arena.ofConfined()) {
      long config = arena.allocate(kvm_pit_config.layout()).address();
      Memory.putInt(config + kvm_pit_config.flags$offset(), KVM_PIT_SPEAKER_DUMMY());
      Kvm.check(Ioctl.call(fd(), KVM_CREATE_PIT2(), config), "KVM_CREATE_PIT2", "");
    }
  }

  /** KVM_CREATE_VCPU. */
  public KvmVcpu createVcpu(int id) {
    long fd = Kvm.check(Ioctl.call(fd(), KVM_CREATE_VCPU(), id), "KVM_CREATE_VCPU", "id=" + id);
    return new KvmVcpu(FileDescriptor.adopt((int) fd), vcpuAreaBytes);
  }

  /** KVM_IRQFD: each write to the eventfd raises the line and lowers it again (an edge). Asynchronous for IOAPIC pins. */
  public void connectIrq(int eventFd, int gsi, boolean connect) {
    try (Arena arena = Arena.ofConfined()) {
      long irq = arena.allocate(kvm_irqfd.layout()).address();
      Memory.putInt(irq + kvm_irqfd.fd$offset(), eventFd);
      Memory.putInt(irq + kvm_irqfd.gsi$offset(), gsi);
      Memory.putInt(irq + kvm_irqfd.flags$offset(), connect ? 0 : KVM_IRQFD_FLAG_DEASSIGN());
      Kvm.check(Ioctl.call(fd(), KVM_IRQFD(), irq), "KVM_IRQFD", "fd=" + eventFd + " gsi=" + gsi);
    }
  }

  /**
   * KVM_IOEVENTFD: a write of {@code value} to the address counts up the eventfd instead of leaving KVM_RUN.
   *
   * @param bytes width of the write, 1 to 8
   */
  public void connectDoorbell(int eventFd, long guestPhys, int bytes, long value, boolean connect) {
    try (Arena arena = Arena.ofConfined()) {
      long bell = arena.allocate(kvm_ioeventfd.layout()).address();
      Memory.putLong(bell + kvm_ioeventfd.datamatch$offset(), value);
      Memory.putLong(bell + kvm_ioeventfd.addr$offset(), guestPhys);
      Memory.putInt(bell + kvm_ioeventfd.len$offset(), bytes);
      Memory.putInt(bell + kvm_ioeventfd.fd$offset(), eventFd);
      int flags = KVM_IOEVENTFD_FLAG_DATAMATCH() | (connect ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN());
      Memory.putInt(bell + kvm_ioeventfd.flags$offset(), flags);
      Kvm.check(Ioctl.call(fd(), KVM_IOEVENTFD(), bell), "KVM_IOEVENTFD", "fd=" + eventFd + " guestPhys=0x" + Long.toHexString(guestPhys));
    }
  }

  /** KVM_IRQ_LINE: sets the level of an interrupt line, at once. */
  public void setIrqLine(int gsi, boolean high) {
    try (Arena arena = Arena.ofConfined()) {
      long line = arena.allocate(kvm_irq_level.layout()).address();
      Memory.putInt(line, gsi);
      Memory.putInt(line + kvm_irq_level.level$offset(), high ? 1 : 0);
      Kvm.check(Ioctl.call(fd(), KVM_IRQ_LINE(), line), "KVM_IRQ_LINE", "gsi=" + gsi);
    }
  }

  /** KVM_SET_GSI_ROUTING from a {@code struct kvm_irq_routing} with its entries. */
  public long setRouting(long routing) {
    return Ioctl.call(fd(), KVM_SET_GSI_ROUTING(), routing);
  }

  /** KVM_SIGNAL_MSI from a {@code struct kvm_msi}; 1 delivered, 0 blocked by the guest. */
  public long signalMsi(long msi) {
    return Ioctl.call(fd(), KVM_SIGNAL_MSI(), msi);
  }

  /** KVM_RESET_DIRTY_RINGS: write-protects again what was harvested from any vCPU's ring; returns how many entries. */
  public long resetDirtyRings() {
    return Ioctl.call(fd(), KVM_RESET_DIRTY_RINGS(), 0);
  }

  /** KVM_GET_DIRTY_LOG with a {@code struct kvm_dirty_log} that names slot and bitmap. */
  public long getDirtyLog(long log) {
    return Ioctl.call(fd(), KVM_GET_DIRTY_LOG(), log);
  }

  /** KVM_CLEAR_DIRTY_LOG with a {@code struct kvm_clear_dirty_log}. */
  public long clearDirtyLog(long log) {
    return Ioctl.call(fd(), KVM_CLEAR_DIRTY_LOG(), log);
  }

  /** KVM_GET_IRQCHIP into a {@code struct kvm_irqchip} that names the chip. */
  public long getIrqChip(long chip) {
    return Ioctl.call(fd(), KVM_GET_IRQCHIP(), chip);
  }

  /** KVM_SET_IRQCHIP from a {@code struct kvm_irqchip}. */
  public long setIrqChip(long chip) {
    return Ioctl.call(fd(), KVM_SET_IRQCHIP(), chip);
  }

  /** KVM_GET_PIT2 into a {@code struct kvm_pit_state2}. */
  public long getPit(long pit) {
    return Ioctl.call(fd(), KVM_GET_PIT2(), pit);
  }

  /** KVM_SET_PIT2 from a {@code struct kvm_pit_state2}. */
  public long setPit(long pit) {
    return Ioctl.call(fd(), KVM_SET_PIT2(), pit);
  }

  /** KVM_GET_CLOCK into a {@code struct kvm_clock_data}. */
  public long getClock(long clock) {
    return Ioctl.call(fd(), KVM_GET_CLOCK(), clock);
  }

  /** KVM_SET_CLOCK from a {@code struct kvm_clock_data}. */
  public long setClock(long clock) {
    return Ioctl.call(fd(), KVM_SET_CLOCK(), clock);
  }

  @Override
  public void close() {
    descriptor.close();
  }
}
