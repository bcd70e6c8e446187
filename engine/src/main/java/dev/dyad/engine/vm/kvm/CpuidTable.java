package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.abi.kvm.kvm_cpuid_entry2;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/**
 * What CPUID answers in the guest: all that this host's KVM supports, with the vCPU's own numbers put in. Two hosts can protect each
 * other's guests only if {@link #model} is equal.
 */
final class CpuidTable {
  private static final int ENTRY_BYTES = (int) kvm_cpuid_entry2.sizeof();
  private static final int FUNCTION = (int) kvm_cpuid_entry2.function$offset();
  private static final int EBX = (int) kvm_cpuid_entry2.ebx$offset();
  private static final int ECX = (int) kvm_cpuid_entry2.ecx$offset();
  private static final int EDX = (int) kvm_cpuid_entry2.edx$offset();

  private static final int TSC_DEADLINE = 1 << 24;
  private static final int HYPERVISOR = 1 << 31;

  private final byte[] supported;
  private final int vcpus;
  private final boolean tscDeadline;

  CpuidTable(byte[] supported, int vcpus, boolean tscDeadline) {
    this.supported = supported.clone();
    this.vcpus = vcpus;
    this.tscDeadline = tscDeadline;
  }

  /** The table of one vCPU: what the kernel answered is that of the core that happened to ask. */
  byte[] of(int vcpu) {
    byte[] table = supported.clone();
    ByteBuffer bytes = ByteBuffer.wrap(table).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < table.length; at += ENTRY_BYTES) {
      switch (bytes.getInt(at + FUNCTION)) {
        case 1 -> {
          bytes.putInt(at + EBX, (bytes.getInt(at + EBX) & 0xffff) | vcpus << 16 | vcpu << 24);
          bytes.putInt(at + ECX, (bytes.getInt(at + ECX) & ~TSC_DEADLINE) | (tscDeadline ? TSC_DEADLINE : 0) | HYPERVISOR);
        }
        case 0xb, 0x1f -> bytes.putInt(at + EDX, vcpu);
        default -> { }
      }
    }
    return table;
  }

  int model() {
    CRC32C sum = new CRC32C();
    sum.update(of(0));
    return (int) sum.getValue();
  }
}
