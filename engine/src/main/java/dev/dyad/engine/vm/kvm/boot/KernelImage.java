package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A Linux kernel as it lies in a file: a bzImage with a 64-bit entry, or an uncompressed ELF image (vmlinux).
 *
 * <p>Source: Documentation/arch/x86/boot.rst, "64-bit boot protocol", versions 2.12 and later; elf(5).
 */
final class KernelImage {
  private static final long FILE_BYTES_MAX = 1L << 30;
  private static final long MEBIBYTE = 1 << 20;

  // struct setup_header, as offsets in the file
  static final int HEADER = 0x1f1;
  static final int HEADER_END = 0x290;
  private static final int BOOT_FLAG = 0x1fe;
  private static final int JUMP_LENGTH = 0x201;
  private static final int MAGIC = 0x202;
  private static final int VERSION = 0x206;
  private static final int INITRD_END_MAX = 0x22c;
  private static final int RELOCATABLE = 0x234;
  private static final int XLOADFLAGS = 0x236;
  private static final int COMMAND_LINE_BYTES_MAX = 0x238;
  private static final int PREFERRED = 0x258;
  private static final int INIT_BYTES = 0x260;
  private static final int HDRS = 0x53726448;
  private static final int VERSION_MIN = 0x20c;
  private static final int ENTRY_64 = 0x200;
  private static final int SECTOR = 512;

  private static final int ELF = 0x464c457f;
  private static final int ELF_CLASS_64_LITTLE = 0x0102;
  private static final int MACHINE_X86_64 = 62;
  private static final int PROGRAM_HEADER_BYTES = 56;
  private static final int LOAD = 1;
  private static final int COMMAND_LINE_BYTES_USUAL = 2047;

  /** A part of the file and where it goes; what {@code bytes} has beyond {@code fileBytes} is zero. */
  private record Segment(int fileOffset, int fileBytes, long guestPhys, long bytes) {}

  private final byte[] file;
  private final byte[] setupHeader;
  private final List<Segment> segments;
  private final long entry;
  private final long initrdEndMax;
  private final int commandLineBytesMax;

  private KernelImage(byte[] file, byte[] setupHeader, List<Segment> segments, long entry, long initrdEndMax, int commandLineBytesMax) {
    this.file = file;
    this.setupHeader = setupHeader;
    this.segments = segments;
    this.entry = entry;
    this.initrdEndMax = initrdEndMax;
    this.commandLineBytesMax = commandLineBytesMax;
  }

  /**
   * @throws IllegalArgumentException with one line when there is no file, or it is no kernel that can be started
   */
  static KernelImage read(Path path) {
    return parse(path.toString(), contents(path, "kernel"));
  }

  /** All of a file; {@code what} it is to be, for the message. */
  static byte[] contents(Path path, String what) {
    try {
      if (!Files.isRegularFile(path)) {
        throw new NoSuchFileException(path.toString());
      }
      if (Files.size(path) > FILE_BYTES_MAX) {
        throw new IllegalArgumentException(what + " " + path + ": " + Files.size(path) + " bytes; needed are at most " + FILE_BYTES_MAX);
      }
      return Files.readAllBytes(path);
    } catch (NoSuchFileException e) {
      throw new IllegalArgumentException(what + " " + path + ": there is no such file", e);
    } catch (IOException e) {
      throw new IllegalArgumentException(what + " " + path + " cannot be read: " + e.getMessage(), e);
    }
  }

  static KernelImage parse(String name, byte[] file) {
    ByteBuffer bytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    try {
      if (file.length >= 64 && bytes.getInt(0) == ELF) {
        return elf(name, file, bytes);
      }
      if (file.length > HEADER_END && bytes.getShort(BOOT_FLAG) == (short) 0xaa55 && bytes.getInt(MAGIC) == HDRS) {
        return bzImage(name, file, bytes);
      }
    } catch (IndexOutOfBoundsException | ArithmeticException e) {
      throw refused(name, "it is cut off or damaged", e);
    }
    throw refused(name, "neither a bzImage (no 'HdrS' at 0x202) nor an ELF file", null);
  }

  private static KernelImage bzImage(String name, byte[] file, ByteBuffer bytes) {
    int version = bytes.getShort(VERSION) & 0xffff;
    if (version < VERSION_MIN) {
      throw refused(name, String.format("boot protocol %d.%02d", version >> 8, version & 0xff), null);
    }
    if ((bytes.getShort(XLOADFLAGS) & 1) == 0) {
      throw refused(name, "a kernel without a 64-bit entry", null);
    }
    int sectors = bytes.get(HEADER) & 0xff;
    int offset = ((sectors == 0 ? 4 : sectors) + 1) * SECTOR;
    int kernelBytes = file.length - offset;
    if (kernelBytes <= ENTRY_64) {
      throw refused(name, "it is cut off: " + file.length + " bytes, of which " + offset + " are set-up", null);
    }
    long preferred = bytes.getLong(PREFERRED);
    boolean relocatable = bytes.get(RELOCATABLE) != 0;
    if (preferred < MEBIBYTE || preferred >= GuestRam.HOLE_START) {
      throw refused(name, "it wants to be loaded at 0x" + Long.toHexString(preferred) + (relocatable ? ", although it is relocatable" : ""), null);
    }
    int headerEnd = MAGIC + (bytes.get(JUMP_LENGTH) & 0xff);
    byte[] header = java.util.Arrays.copyOfRange(file, HEADER, Math.clamp(headerEnd, HEADER + 1, HEADER_END));
    long needed = Math.max(Integer.toUnsignedLong(bytes.getInt(INIT_BYTES)), kernelBytes);
    return new KernelImage(
        file,
        header,
        List.of(new Segment(offset, kernelBytes, preferred, needed)),
        preferred + ENTRY_64,
        Integer.toUnsignedLong(bytes.getInt(INITRD_END_MAX)) + 1,
        Math.clamp(Integer.toUnsignedLong(bytes.getInt(COMMAND_LINE_BYTES_MAX)), 255, BootParameters.COMMAND_LINE_ROOM - 1));
  }

  private static KernelImage elf(String name, byte[] file, ByteBuffer bytes) {
    if (bytes.getShort(4) != ELF_CLASS_64_LITTLE || (bytes.getShort(18) & 0xffff) != MACHINE_X86_64) {
      throw refused(name, "an ELF file that is not for 64-bit x86", null);
    }
    long entry = bytes.getLong(24);
    long table = bytes.getLong(32);
    int entryBytes = bytes.getShort(54) & 0xffff;
    int count = bytes.getShort(56) & 0xffff;
    if (count == 0 || entryBytes < PROGRAM_HEADER_BYTES) {
      throw refused(name, "an ELF file without program headers", null);
    }
    List<Segment> segments = new ArrayList<>();
    long start = -1;
    for (int i = 0; i < count; i++) {
      int at = Math.toIntExact(table + (long) i * entryBytes);
      if (bytes.getInt(at) != LOAD || bytes.getLong(at + 40) == 0) {
        continue;
      }
      long offset = bytes.getLong(at + 8);
      long virtual = bytes.getLong(at + 16);
      long physical = bytes.getLong(at + 24);
      long fileBytes = bytes.getLong(at + 32);
      long memoryBytes = bytes.getLong(at + 40);
      if (offset < 0 || fileBytes < 0 || offset > file.length || fileBytes > file.length - offset || memoryBytes < fileBytes) {
        throw refused(name, "it is cut off or damaged", null);
      }
      if (physical < MEBIBYTE || physical >= GuestRam.HOLE_START || memoryBytes > GuestRam.HOLE_START) {
        throw refused(name, "a segment wants to be loaded at 0x" + Long.toHexString(physical), null);
      }
      segments.add(new Segment((int) offset, (int) fileBytes, physical, memoryBytes));
      if (entry >= physical && entry - physical < memoryBytes) {
        start = entry;
      } else if (start < 0 && entry - virtual >= 0 && entry - virtual < memoryBytes) {
        start = entry - virtual + physical;
      }
    }
    if (start < 0) {
      throw refused(name, "an ELF file whose entry 0x" + Long.toHexString(entry) + " is in none of its segments", null);
    }
    return new KernelImage(file, new byte[0], List.copyOf(segments), start, Integer.MAX_VALUE, COMMAND_LINE_BYTES_USUAL);
  }

  private static IllegalArgumentException refused(String name, String found, @org.jspecify.annotations.Nullable Throwable cause) {
    return new IllegalArgumentException(
        "kernel " + name + ": " + found + "; needed is a bzImage with boot protocol 2.12 or later and a 64-bit entry (/boot/vmlinuz-VERSION), or an x86-64 vmlinux", cause);
  }

  /** Copies it into guest memory. Its last byte must lie below {@code endPhys}. */
  void load(GuestRam ram, long endPhys) {
    if (endPhys() > endPhys) {
      throw tooSmall(ram.bytes(), endPhys());
    }
    for (Segment segment : segments) {
      long at = ram.hostVirt(segment.guestPhys, segment.bytes);
      if (at == GuestRam.OUTSIDE) {
        throw tooSmall(ram.bytes(), segment.guestPhys + segment.bytes);
      }
      Memory.copyFrom(file, segment.fileOffset, at, segment.fileBytes);
      Memory.zero(at + segment.fileBytes, segment.bytes - segment.fileBytes);
      ram.wrote(at, segment.bytes);
    }
  }

  static IllegalArgumentException tooSmall(long bytes, long needed) {
    return new IllegalArgumentException(
        "memory of " + (bytes >> 20) + " MiB: kernel and initrd alone need " + ((needed + MEBIBYTE - 1) >> 20) + " MiB; give the guest more with --memory");
  }

  /** First address after it, room to unpack itself included. */
  long endPhys() {
    return segments.stream().mapToLong(segment -> segment.guestPhys + segment.bytes).max().orElse(0);
  }

  /** Where a vCPU starts in 64-bit mode. */
  long entry() {
    return entry;
  }

  /** {@code struct setup_header} as the file has it, from {@link #HEADER} on; empty when the file has none. */
  byte[] setupHeader() {
    return setupHeader.clone();
  }

  /** First address after the highest possible initrd. */
  long initrdEndMax() {
    return initrdEndMax;
  }

  /** Longest command line, without its end. */
  int commandLineBytesMax() {
    return commandLineBytesMax;
  }
}
