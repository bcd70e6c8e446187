package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import dev.dyad.bindings.abi.kvm.kvm_cpuid2;
import dev.dyad.bindings.abi.kvm.kvm_cpuid_entry2;
import dev.dyad.bindings.abi.kvm.kvm_signal_mask;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Ioctl;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.lang.foreign.Arena;

/**
 * Owner of one vCPU's descriptor and of the area that it shares with the kernel ({@link RunArea}). State calls take the address of
 * the kernel's struct, return its result or {@code -errno} and allocate nothing; they wait while another thread is inside of
 * {@link #run}. Close it after the thread that runs it has ended.
 */
public final class KvmVcpu implements AutoCloseable {

  private final FileDescriptor descriptor;
  private final Mapping area;
  private final RunArea run;

  KvmVcpu(FileDescriptor descriptor, int areaBytes) {
    this.descriptor = descriptor;
    try {
      area = Mapping.shared(descriptor.fd(), 0, areaBytes);
    } catch (RuntimeException e) {
      descriptor.close();
      throw e;
    }
    run = new RunArea(area.hostVirt());
  }

  public int fd() {
    return descriptor.fd();
  }

  public RunArea area() {
    return run;
  }

  /** KVM_RUN: 0 with a reason in {@link #area()}, or {@code -errno} (EINTR: kicked). */
  public long run() {
    return Ioctl.call(fd(), KVM_RUN(), 0);
  }

  /** KVM_SET_CPUID2 from {@code struct kvm_cpuid_entry2}s one after the other. */
  public void setCpuid(byte[] entries) {
    try (Arena arena = Arena.ofConfined()) {
      long list = arena.allocate(kvm_cpuid2.sizeof() + entries.length, 8).address();
      int count = Math.toIntExact(entries.length / kvm_cpuid_entry2.sizeof());
      Memory.putInt(list + kvm_cpuid2.nent$offset(), count);
      Memory.copyFrom(entries, 0, list + kvm_cpuid2.sizeof(), entries.length);
      Kvm.check(Ioctl.call(fd(), KVM_SET_CPUID2(), list), "KVM_SET_CPUID2", "entries=" + count);
    }
  }

  /**
   * KVM_SET_SIGNAL_MASK: the signals that stay blocked inside of {@link #run}.
   *
   * @param mask bit n − 1 for signal n, as the kernel's {@code sigset_t}
   */
  public void setSignalMask(long mask) {
    try (Arena arena = Arena.ofConfined()) {
      long argument = arena.allocate(kvm_signal_mask.sizeof() + 8, 8).address();
      Memory.putInt(argument + kvm_signal_mask.len$offset(), 8);
      Memory.putLong(argument + kvm_signal_mask.sizeof(), mask);
      Kvm.check(Ioctl.call(fd(), KVM_SET_SIGNAL_MASK(), argument), "KVM_SET_SIGNAL_MASK", "fd=" + fd());
    }
  }

  /** KVM_GET_TSC_KHZ. */
  public long tscKhz() {
    return Ioctl.call(fd(), KVM_GET_TSC_KHZ(), 0);
  }

  /** KVM_SET_TSC_KHZ. */
  public long setTscKhz(long khz) {
    return Ioctl.call(fd(), KVM_SET_TSC_KHZ(), khz);
  }

  /** KVM_KVMCLOCK_CTRL: tells the guest's watchdogs that it was stopped; EINVAL when it uses no kvmclock. */
  public long reportStop() {
    return Ioctl.call(fd(), KVM_KVMCLOCK_CTRL(), 0);
  }

  /** {@code struct kvm_regs}. */
  public long getRegs(long regs) {
    return Ioctl.call(fd(), KVM_GET_REGS(), regs);
  }

  public long setRegs(long regs) {
    return Ioctl.call(fd(), KVM_SET_REGS(), regs);
  }

  /** {@code struct kvm_sregs}. */
  public long getSregs(long sregs) {
    return Ioctl.call(fd(), KVM_GET_SREGS(), sregs);
  }

  public long setSregs(long sregs) {
    return Ioctl.call(fd(), KVM_SET_SREGS(), sregs);
  }

  /** {@code struct kvm_sregs2}. */
  public long getSregs2(long sregs) {
    return Ioctl.call(fd(), KVM_GET_SREGS2(), sregs);
  }

  public long setSregs2(long sregs) {
    return Ioctl.call(fd(), KVM_SET_SREGS2(), sregs);
  }

  /** XSAVE area of {@link KvmCapabilities#xsaveBytes}. */
  public long getXsave(long xsave) {
    return Ioctl.call(fd(), KVM_GET_XSAVE2(), xsave);
  }

  public long setXsave(long xsave) {
    return Ioctl.call(fd(), KVM_SET_XSAVE(), xsave);
  }

  /** {@code struct kvm_xcrs}. */
  public long getXcrs(long xcrs) {
    return Ioctl.call(fd(), KVM_GET_XCRS(), xcrs);
  }

  public long setXcrs(long xcrs) {
    return Ioctl.call(fd(), KVM_SET_XCRS(), xcrs);
  }

  /** {@code struct kvm_msrs} with its entries; returns how many were read: the first that could not be ends it. */
  public long getMsrs(long msrs) {
    return Ioctl.call(fd(), KVM_GET_MSRS(), msrs);
  }

  /** As {@link #getMsrs}; returns how many were written. */
  public long setMsrs(long msrs) {
    return Ioctl.call(fd(), KVM_SET_MSRS(), msrs);
  }

  /** {@code struct kvm_lapic_state}. */
  public long getLapic(long lapic) {
    return Ioctl.call(fd(), KVM_GET_LAPIC(), lapic);
  }

  public long setLapic(long lapic) {
    return Ioctl.call(fd(), KVM_SET_LAPIC(), lapic);
  }

  /** {@code struct kvm_mp_state}. */
  public long getMpState(long state) {
    return Ioctl.call(fd(), KVM_GET_MP_STATE(), state);
  }

  public long setMpState(long state) {
    return Ioctl.call(fd(), KVM_SET_MP_STATE(), state);
  }

  /** {@code struct kvm_vcpu_events}. */
  public long getEvents(long events) {
    return Ioctl.call(fd(), KVM_GET_VCPU_EVENTS(), events);
  }

  public long setEvents(long events) {
    return Ioctl.call(fd(), KVM_SET_VCPU_EVENTS(), events);
  }

  /** {@code struct kvm_debugregs}. */
  public long getDebugRegs(long registers) {
    return Ioctl.call(fd(), KVM_GET_DEBUGREGS(), registers);
  }

  public long setDebugRegs(long registers) {
    return Ioctl.call(fd(), KVM_SET_DEBUGREGS(), registers);
  }

  @Override
  public void close() {
    area.close();
    descriptor.close();
  }
}
