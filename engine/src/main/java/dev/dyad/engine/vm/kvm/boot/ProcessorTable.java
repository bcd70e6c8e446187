package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * Tells an operating system without ACPI which processors and interrupt controllers there are: the MP floating pointer and its
 * configuration table, Intel MultiProcessor Specification 1.4, chapter 4. The 16 ISA interrupts go to the IOAPIC's pins of the same
 * number, as KVM routes them.
 */
final class ProcessorTable {
  /** In the range of the BIOS ROM, where operating systems look. */
  static final long PHYS = 0xf0000;

  private static final int POINTER_BYTES = 16;
  private static final int HEADER_BYTES = 44;
  private static final int PROCESSOR_BYTES = 20;
  private static final int ENTRY_BYTES = 8;
  private static final int ISA_INTERRUPTS = 16;
  private static final int SPECIFICATION = 4;
  private static final int LAPIC = 0xfee00000;
  private static final int IOAPIC = 0xfec00000;
  private static final int LAPIC_VERSION = 0x14;
  private static final int IOAPIC_VERSION = 0x11;
  private static final int ENABLED = 1;
  private static final int BOOTS = 2;
  private static final int SIGNATURE = 0x600;
  private static final int FPU_AND_APIC = 0x201;
  private static final byte INT = 0;
  private static final byte NMI = 1;
  private static final byte EXT_INT = 3;
  private static final byte ALL = (byte) 0xff;

  private ProcessorTable() {}

  static void write(GuestRam ram, int vcpus) {
    int tableBytes = HEADER_BYTES + vcpus * PROCESSOR_BYTES + (2 + ISA_INTERRUPTS + 2) * ENTRY_BYTES;
    ByteBuffer bytes = ByteBuffer.allocate(POINTER_BYTES + tableBytes).order(ByteOrder.LITTLE_ENDIAN);
    bytes.put(ascii("_MP_")).putInt((int) PHYS + POINTER_BYTES).put((byte) 1).put((byte) SPECIFICATION);
    bytes.position(POINTER_BYTES);
    bytes.put(ascii("PCMP")).putShort((short) tableBytes).put((byte) SPECIFICATION).put((byte) 0);
    bytes.put(ascii("DYAD    ")).put(ascii("MICROVM     ")).putInt(0).putShort((short) 0);
    bytes.putShort((short) (vcpus + 2 + ISA_INTERRUPTS + 2)).putInt(LAPIC).putInt(0);
    for (int i = 0; i < vcpus; i++) {
      bytes.put((byte) 0).put((byte) i).put((byte) LAPIC_VERSION).put((byte) (ENABLED | (i == 0 ? BOOTS : 0)));
      bytes.putInt(SIGNATURE).putInt(FPU_AND_APIC).putLong(0);
    }
    bytes.put((byte) 1).put((byte) 0).put(ascii("ISA   "));
    bytes.put((byte) 2).put((byte) vcpus).put((byte) IOAPIC_VERSION).put((byte) ENABLED).putInt(IOAPIC);
    for (int i = 0; i < ISA_INTERRUPTS; i++) {
      bytes.put((byte) 3).put(INT).putShort((short) 0).put((byte) 0).put((byte) i).put((byte) vcpus).put((byte) i);
    }
    bytes.put((byte) 4).put(EXT_INT).putShort((short) 0).put((byte) 0).put((byte) 0).put((byte) 0).put((byte) 0);
    bytes.put((byte) 4).put(NMI).putShort((short) 0).put((byte) 0).put((byte) 0).put(ALL).put((byte) 1);
    byte[] all = bytes.array();
    all[10] = complement(all, 0, POINTER_BYTES);
    all[POINTER_BYTES + 7] = complement(all, POINTER_BYTES, tableBytes);
    long at = ram.hostVirt(PHYS, all.length);
    Memory.copyFrom(all, 0, at, all.length);
    ram.wrote(at, all.length);
  }

  /** What makes the bytes add up to 0. */
  private static byte complement(byte[] bytes, int from, int count) {
    int sum = 0;
    for (int i = from; i < from + count; i++) {
      sum += bytes[i];
    }
    return (byte) -sum;
  }

  private static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }
}
