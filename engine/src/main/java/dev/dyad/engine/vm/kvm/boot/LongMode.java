package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.abi.kvm.kvm_dtable;
import dev.dyad.bindings.abi.kvm.kvm_mp_state;
import dev.dyad.bindings.abi.kvm.kvm_regs;
import dev.dyad.bindings.abi.kvm.kvm_segment;
import dev.dyad.bindings.abi.kvm.kvm_sregs;
import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.engine.vm.kvm.GuestRam;

/** A vCPU's start in 64-bit mode at CPL0, and page tables that map all memory to itself in 2 MiB pages. */
final class LongMode {
  private static final long CR0 = 0x8001_0033L; // PG WP NE ET MP PE
  private static final long CR4 = 0x620; // PAE OSFXSR OSXMMEXCPT
  private static final long EFER = 0x500; // LME LMA
  private static final int CODE = 11;
  private static final int DATA = 3;
  private static final int CODE_SELECTOR = 0x08;
  private static final int DATA_SELECTOR = 0x10;
  private static final int LINUX_CODE_SELECTOR = 0x10;
  private static final int LINUX_DATA_SELECTOR = 0x18;
  private static final long GDT = 0x500;
  private static final int GDT_BYTES = 32;
  private static final long RFLAGS = 2;

  private static final long PRESENT_WRITABLE = 3;
  private static final long USER = 4;
  private static final long ACCESSED = 0x20;
  private static final long DIRTY_LARGE = 0xc0;
  private static final long ENTRIES = 512;
  private static final long GIB = 1L << 30;
  private static final long LARGE_PAGE = 2L << 20;

  private LongMode() {}

  /**
   * Writes page tables for everything from 0 to the end of memory, the device hole included, open to CPL3. Accessed and dirty bits are set
   * already, so that the processor never writes to them.
   *
   * @param tablesPhys where they start
   * @param roomBytes what is free there
   */
  static void mapAll(GuestRam ram, long tablesPhys, long roomBytes) {
    long end = ram.bytes() <= GuestRam.HOLE_START ? GuestRam.HOLE_END : GuestRam.HOLE_END + ram.bytes() - GuestRam.HOLE_START;
    long directories = (end + GIB - 1) / GIB;
    long bytes = (2 + directories) * 4096;
    if (bytes > roomBytes || directories > ENTRIES) {
      throw new IllegalArgumentException("page tables for " + ram.bytes() + " bytes of memory need " + bytes + " bytes; there is room for " + roomBytes);
    }
    long tables = ram.hostVirt(tablesPhys, bytes);
    writeTables(tables, bytes, tablesPhys, directories, PRESENT_WRITABLE | USER | ACCESSED);
    ram.wrote(tables, bytes);
  }

  private static void writeTables(long tables, long bytes, long tablesPhys, long directories, long flags) {
    Memory.zero(tables, bytes);
    Memory.putLong(tables, tablesPhys + 4096 | flags);
    for (long i = 0; i < directories; i++) {
      Memory.putLong(tables + 4096 + 8 * i, tablesPhys + (2 + i) * 4096 | flags);
      for (long j = 0; j < ENTRIES; j++) {
        Memory.putLong(tables + (2 + i) * 4096 + 8 * j, i * GIB + j * LARGE_PAGE | flags | DIRTY_LARGE);
      }
    }
  }

  /** Page tables for Linux's start: the first 4 GiB one to one, for CPL0 only. */
  static void mapFirst4GiB(GuestRam ram, long tablesPhys, long roomBytes) {
    long directories = GuestRam.HOLE_END / GIB;
    long bytes = (2 + directories) * 4096;
    if (bytes > roomBytes) {
      throw new IllegalArgumentException("page tables of " + bytes + " bytes; there is room for " + roomBytes);
    }
    long tables = ram.hostVirt(tablesPhys, bytes);
    writeTables(tables, bytes, tablesPhys, directories, PRESENT_WRITABLE | ACCESSED);
    ram.wrote(tables, bytes);
  }

  /** The descriptors that Linux's boot protocol names: flat code at 0x10, flat data at 0x18. */
  static void writeLinuxSegments(GuestRam ram) {
    long gdt = ram.hostVirt(GDT, GDT_BYTES);
    Memory.zero(gdt, GDT_BYTES);
    Memory.putLong(gdt + LINUX_CODE_SELECTOR, 0x00af_9b00_0000_ffffL);
    Memory.putLong(gdt + LINUX_DATA_SELECTOR, 0x00cf_9300_0000_ffffL);
    ram.wrote(gdt, GDT_BYTES);
  }

  static void prepare(KvmVcpu vcpu, long tablesPhys, long entry, long argument) {
    prepare(vcpu, tablesPhys, entry, kvm_regs.rdi$offset(), argument, CODE_SELECTOR, DATA_SELECTOR);
  }

  /** As Linux's 64-bit entry wants it: the argument in RSI, its selectors, interrupts off. */
  static void prepareLinux(KvmVcpu vcpu, long tablesPhys, long entry, long bootParametersPhys) {
    prepare(vcpu, tablesPhys, entry, kvm_regs.rsi$offset(), bootParametersPhys, LINUX_CODE_SELECTOR, LINUX_DATA_SELECTOR);
  }

  private static void prepare(KvmVcpu vcpu, long tablesPhys, long entry, long argumentOffset, long argument, int code, int data) {
    try (Mapping page = Mapping.anonymous(4096)) {
      long sregs = page.hostVirt();
      NativeException.check(vcpu.getSregs(sregs), "KVM_GET_SREGS", "");
      segment(sregs + kvm_sregs.cs$offset(), code, CODE, 1);
      segment(sregs + kvm_sregs.ds$offset(), data, DATA, 0);
      segment(sregs + kvm_sregs.es$offset(), data, DATA, 0);
      segment(sregs + kvm_sregs.fs$offset(), data, DATA, 0);
      segment(sregs + kvm_sregs.gs$offset(), data, DATA, 0);
      segment(sregs + kvm_sregs.ss$offset(), data, DATA, 0);
      if (code == LINUX_CODE_SELECTOR) {
        table(sregs + kvm_sregs.gdt$offset(), GDT, GDT_BYTES - 1);
        table(sregs + kvm_sregs.idt$offset(), 0, 0);
      }
      Memory.putLong(sregs + kvm_sregs.cr0$offset(), CR0);
      Memory.putLong(sregs + kvm_sregs.cr3$offset(), tablesPhys);
      Memory.putLong(sregs + kvm_sregs.cr4$offset(), CR4);
      Memory.putLong(sregs + kvm_sregs.efer$offset(), EFER);
      NativeException.check(vcpu.setSregs(sregs), "KVM_SET_SREGS", "");
      long regs = sregs + 2048;
      Memory.putLong(regs + kvm_regs.rip$offset(), entry);
      Memory.putLong(regs + argumentOffset, argument);
      Memory.putLong(regs + kvm_regs.rflags$offset(), RFLAGS);
      NativeException.check(vcpu.setRegs(regs), "KVM_SET_REGS", "");
      long state = sregs + 3072;
      Memory.putInt(state + kvm_mp_state.mp_state$offset(), 0); // KVM_MP_STATE_RUNNABLE
      NativeException.check(vcpu.setMpState(state), "KVM_SET_MP_STATE", "");
    }
  }

  private static void table(long at, long base, int limit) {
    Memory.putLong(at + kvm_dtable.base$offset(), base);
    Memory.putShort(at + kvm_dtable.limit$offset(), (short) limit);
  }

  private static void segment(long at, int selector, int type, int longMode) {
    Memory.putLong(at + kvm_segment.base$offset(), 0);
    Memory.putInt(at + kvm_segment.limit$offset(), -1);
    Memory.putShort(at + kvm_segment.selector$offset(), (short) selector);
    Memory.putByte(at + kvm_segment.type$offset(), (byte) type);
    Memory.putByte(at + kvm_segment.present$offset(), (byte) 1);
    Memory.putByte(at + kvm_segment.dpl$offset(), (byte) 0);
    Memory.putByte(at + kvm_segment.db$offset(), (byte) (1 - longMode));
    Memory.putByte(at + kvm_segment.s$offset(), (byte) 1);
    Memory.putByte(at + kvm_segment.l$offset(), (byte) longMode);
    Memory.putByte(at + kvm_segment.g$offset(), (byte) 1);
    Memory.putByte(at + kvm_segment.unusable$offset(), (byte) 0);
  }
}
