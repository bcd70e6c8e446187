package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.abi.kvm.kvm_clock_data;
import dev.dyad.bindings.abi.kvm.kvm_debugregs;
import dev.dyad.bindings.abi.kvm.kvm_irqchip;
import dev.dyad.bindings.abi.kvm.kvm_lapic_state;
import dev.dyad.bindings.abi.kvm.kvm_mp_state;
import dev.dyad.bindings.abi.kvm.kvm_msr_entry;
import dev.dyad.bindings.abi.kvm.kvm_msrs;
import dev.dyad.bindings.abi.kvm.kvm_pit_state2;
import dev.dyad.bindings.abi.kvm.kvm_regs;
import dev.dyad.bindings.abi.kvm.kvm_sregs2;
import dev.dyad.bindings.abi.kvm.kvm_vcpu_events;
import dev.dyad.bindings.abi.kvm.kvm_xcrs;
import dev.dyad.bindings.linux.Memory;

/**
 * Where each part of the machine state lies: the kernel's own structs behind a header, at places that depend on the machine's shape
 * only, so that two epochs' states can be compared byte by byte.
 *
 * <pre>
 *   0        header: magic, version, shape (64 bytes)
 *   64       interrupt chips: PIC, PIC, IOAPIC, PIT, clock
 *   vcpu(0)  registers, XSAVE area, LAPIC, MSRs, ...        64-byte aligned
 *   ...
 *   devices  each device's own bytes, in the order of the devices
 * </pre>
 *
 * All fields are little-endian; sizes are in bytes.
 */
final class StateLayout {
  private static final long MAGIC = 0x314d_564b_4441_5944L; // "DYADKVM1"
  private static final int VERSION = 1;
  private static final int HEADER_BYTES = 64;

  private static final int MAGIC_AT = 0;
  private static final int VERSION_AT = 8;
  private static final int VCPUS_AT = 12;
  private static final int RAM_AT = 16;
  private static final int TOTAL_AT = 24;
  private static final int XSAVE_AT = 28;
  private static final int MSRS_AT = 32;
  private static final int POWER_AT = 36;
  private static final int DEVICES_AT = 40;
  private static final int CPU_MODEL_AT = 44;
  private static final int TSC_KHZ_AT = 48;

  static final int CHIPS = 3;

  final int xsaveBytes;
  final int msrCount;

  final int chips = HEADER_BYTES;
  final int pit;
  final int clock;

  // Offsets within a vCPU's part.
  final int regs = 0;
  final int sregs;
  final int events;
  final int debugRegs;
  final int mpState;
  final int xcrs;
  final int lapic;
  final int msrs;
  final int xsave;
  final int vcpuBytes;

  private final int vcpuCount;
  private final long ramBytes;
  private final int firstVcpu;
  final int devices;
  private final int devicesBytes;
  final int totalBytes;

  StateLayout(int vcpuCount, long ramBytes, int xsaveBytes, int msrCount, int devicesBytes) {
    this.vcpuCount = vcpuCount;
    this.ramBytes = ramBytes;
    this.xsaveBytes = xsaveBytes;
    this.msrCount = msrCount;
    this.devicesBytes = devicesBytes;
    pit = chips + CHIPS * (int) kvm_irqchip.sizeof();
    clock = align(pit + (int) kvm_pit_state2.sizeof());
    firstVcpu = align(clock + (int) kvm_clock_data.sizeof());
    sregs = align((int) kvm_regs.sizeof());
    events = align(sregs + (int) kvm_sregs2.sizeof());
    debugRegs = align(events + (int) kvm_vcpu_events.sizeof());
    mpState = align(debugRegs + (int) kvm_debugregs.sizeof());
    xcrs = align(mpState + (int) kvm_mp_state.sizeof());
    lapic = align(xcrs + (int) kvm_xcrs.sizeof());
    msrs = align(lapic + (int) kvm_lapic_state.sizeof());
    xsave = align(msrs + (int) kvm_msrs.sizeof() + msrCount * (int) kvm_msr_entry.sizeof());
    vcpuBytes = align(xsave + xsaveBytes);
    devices = firstVcpu + vcpuCount * vcpuBytes;
    totalBytes = devices + devicesBytes;
  }

  private static int align(int offset) {
    return offset + 63 & -64;
  }

  int chip(int number) {
    return chips + number * (int) kvm_irqchip.sizeof();
  }

  int vcpu(int index) {
    return firstVcpu + index * vcpuBytes;
  }

  void writeHeader(long at, PowerState power, int cpuModel, int tscKhz) {
    Memory.zero(at, HEADER_BYTES);
    Memory.putLong(at + MAGIC_AT, MAGIC);
    Memory.putInt(at + VERSION_AT, VERSION);
    Memory.putInt(at + VCPUS_AT, vcpuCount);
    Memory.putLong(at + RAM_AT, ramBytes);
    Memory.putInt(at + TOTAL_AT, totalBytes);
    Memory.putInt(at + XSAVE_AT, xsaveBytes);
    Memory.putInt(at + MSRS_AT, msrCount);
    Memory.putInt(at + POWER_AT, power.ordinal());
    Memory.putInt(at + DEVICES_AT, devicesBytes);
    Memory.putInt(at + CPU_MODEL_AT, cpuModel);
    Memory.putInt(at + TSC_KHZ_AT, tscKhz);
  }

  static int tscKhz(long at) {
    return Memory.getInt(at + TSC_KHZ_AT);
  }

  /** Throws {@link MalformedStateException} unless the state is one of a machine of this shape. */
  PowerState checkHeader(long at, int bytes, int cpuModel) {
    if (bytes < HEADER_BYTES) {
      throw new MalformedStateException("machine state of " + bytes + " bytes: needed are " + totalBytes);
    }
    check("magic", Memory.getLong(at + MAGIC_AT), MAGIC);
    check("version", Memory.getInt(at + VERSION_AT), VERSION);
    check("vCPUs", Memory.getInt(at + VCPUS_AT), vcpuCount);
    check("memory bytes", Memory.getLong(at + RAM_AT), ramBytes);
    check("XSAVE bytes", Memory.getInt(at + XSAVE_AT), xsaveBytes);
    check("MSRs", Memory.getInt(at + MSRS_AT), msrCount);
    check("device bytes", Memory.getInt(at + DEVICES_AT), devicesBytes);
    check("total bytes", Memory.getInt(at + TOTAL_AT), totalBytes);
    check("bytes received", bytes, totalBytes);
    check("CPU model", Memory.getInt(at + CPU_MODEL_AT), cpuModel);
    int power = Memory.getInt(at + POWER_AT);
    PowerState[] states = PowerState.values();
    if (power < 0 || power >= states.length) {
      throw new MalformedStateException("machine state: power state " + power + " is unknown");
    }
    return states[power];
  }

  private static void check(String what, long found, long needed) {
    if (found != needed) {
      throw new MalformedStateException("machine state: " + what + " " + found + ", this machine needs " + needed);
    }
  }
}
