package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;

/**
 * The "zero page": what a boot loader tells a 64-bit Linux. {@code struct boot_params}, Documentation/arch/x86/zero-page.rst.
 *
 * <pre>
 *   1e8  u8   entries of the memory map        210 u8   type of loader      218 u32  initrd      228 u32  command line
 *   1f1  ...  setup_header, as in the file     211 u8   load flags          21c u32  its size    238 u32  its largest size
 *   2d0  20 bytes an entry: address, size, type
 * </pre>
 */
final class BootParameters {
  static final long PHYS = 0x7000;
  static final int BYTES = 4096;
  static final long COMMAND_LINE = 0x20000;
  static final int COMMAND_LINE_ROOM = 0x10000;

  /** Where the PC's low memory ends for an operating system; firmware keeps the rest. */
  static final long LOW_END = 0x9fc00;

  private static final long HIGH_START = 0x100000;
  private static final int MAP_ENTRIES = 0x1e8;
  private static final int MAP = 0x2d0;
  private static final int MAP_ENTRY_BYTES = 20;
  private static final int RAM = 1;
  private static final int RESERVED = 2;

  private static final int BOOT_FLAG = 0x1fe;
  private static final int MAGIC = 0x202;
  private static final int VERSION = 0x206;
  private static final int LOADER = 0x210;
  private static final int LOADER_UNKNOWN = 0xff;
  private static final int FLAGS = 0x211;
  private static final int LOADED_HIGH = 1;
  private static final int INITRD = 0x218;
  private static final int INITRD_BYTES = 0x21c;
  private static final int COMMAND_LINE_POINTER = 0x228;
  private static final int ALIGNMENT = 0x230;
  private static final int COMMAND_LINE_BYTES_MAX = 0x238;
  private static final int VIDEO_MODE = 0x1fa;
  private static final int VIDEO_NORMAL = 0xffff;

  private BootParameters() {}

  /**
   * @param setupHeader the kernel file's own; empty for a file without one
   * @param initrdPhys 0 when there is none
   */
  static void write(GuestRam ram, byte[] setupHeader, long initrdPhys, int initrdBytes, int commandLineBytesMax) {
    long page = ram.hostVirt(PHYS, BYTES);
    Memory.zero(page, BYTES);
    if (setupHeader.length > 0) {
      Memory.copyFrom(setupHeader, 0, page + KernelImage.HEADER, setupHeader.length);
    } else {
      Memory.putShort(page + BOOT_FLAG, (short) 0xaa55);
      Memory.putInt(page + MAGIC, 0x53726448);
      Memory.putShort(page + VERSION, (short) 0x20c);
      Memory.putInt(page + ALIGNMENT, 0x1000000);
      Memory.putInt(page + COMMAND_LINE_BYTES_MAX, commandLineBytesMax);
    }
    Memory.putShort(page + VIDEO_MODE, (short) VIDEO_NORMAL);
    Memory.putByte(page + LOADER, (byte) LOADER_UNKNOWN);
    Memory.putByte(page + FLAGS, (byte) (Memory.getByte(page + FLAGS) | LOADED_HIGH));
    Memory.putInt(page + INITRD, (int) initrdPhys);
    Memory.putInt(page + INITRD_BYTES, initrdBytes);
    Memory.putInt(page + COMMAND_LINE_POINTER, (int) COMMAND_LINE);
    writeMap(page, ram.bytes());
    ram.wrote(page, BYTES);
  }

  private static void writeMap(long page, long bytes) {
    int entries = 0;
    entries = entry(page, entries, 0, LOW_END, RAM);
    entries = entry(page, entries, LOW_END, HIGH_START - LOW_END, RESERVED);
    entries = entry(page, entries, HIGH_START, Math.min(bytes, GuestRam.HOLE_START) - HIGH_START, RAM);
    if (bytes > GuestRam.HOLE_START) {
      entries = entry(page, entries, GuestRam.HOLE_END, bytes - GuestRam.HOLE_START, RAM);
    }
    Memory.putByte(page + MAP_ENTRIES, (byte) entries);
  }

  private static int entry(long page, int index, long guestPhys, long bytes, int type) {
    long at = page + MAP + (long) index * MAP_ENTRY_BYTES;
    Memory.putLong(at, guestPhys);
    Memory.putLong(at + 8, bytes);
    Memory.putInt(at + 16, type);
    return index + 1;
  }
}
