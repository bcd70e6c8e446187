package dev.dyad.engine.vm.kvm.boot;

import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A Linux kernel with its command line and initial RAM disk, started by the 64-bit boot protocol (Documentation/arch/x86/boot.rst):
 * vCPU 0 begins in long mode at the kernel's 64-bit entry with the zero page in RSI; the others wait for its start-up interrupt.
 *
 * <pre>
 *   0x00500  GDT            0x09000  page tables: the first 4 GiB, one to one       0xf0000   processors and interrupt controllers
 *   0x07000  zero page      0x20000  command line                                   kernel's  kernel
 *                                                                                   top       initrd
 * </pre>
 */
public final class LinuxImage implements BootImage {
  /**
   * What this machine asks of every kernel: the console is the serial port, a reboot goes through the keyboard controller, there is neither
   * PCI nor ACPI, and the network card is where it is.
   */
  public static final String MACHINE_OPTIONS =
      "console=ttyS0 reboot=k panic=-1 pci=off acpi=off i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd virtio_mmio.device=4K@0xd0000000:5";

  /** The same for the disk. */
  public static final String DISK_OPTIONS = "virtio_mmio.device=4K@0xd0001000:6";

  private static final long TABLES = 0x9000;
  private static final long TABLES_BYTES = 6 * 4096;
  private static final int PAGE = 4096;

  private final KernelImage kernel;
  private final byte[] initrd;
  private final byte[] commandLine;

  private LinuxImage(KernelImage kernel, byte[] initrd, String commandLine) {
    this.kernel = kernel;
    this.initrd = initrd;
    byte[] text = commandLine.getBytes(StandardCharsets.UTF_8);
    if (text.length > kernel.commandLineBytesMax()) {
      throw new IllegalArgumentException("command line of " + text.length + " bytes; this kernel takes " + kernel.commandLineBytesMax());
    }
    if (commandLine.indexOf('\0') >= 0) {
      throw new IllegalArgumentException("command line with a NUL byte");
    }
    this.commandLine = text;
  }

  /**
   * @param initrd null: none
   * @param commandLine all of it; see {@link #MACHINE_OPTIONS}
   * @throws IllegalArgumentException with one line when a file is missing or is not what it should be
   */
  public static LinuxImage of(Path kernel, @Nullable Path initrd, String commandLine) {
    return new LinuxImage(KernelImage.read(kernel), initrd == null ? new byte[0] : KernelImage.contents(initrd, "initrd"), commandLine);
  }

  static LinuxImage of(KernelImage kernel, byte[] initrd, String commandLine) {
    return new LinuxImage(kernel, initrd, commandLine);
  }

  @Override
  public void load(GuestRam ram, int vcpus) {
    long lowEnd = Math.min(ram.bytes(), GuestRam.HOLE_START);
    long initrdPhys = initrd.length == 0 ? 0 : Math.min(lowEnd, kernel.initrdEndMax()) - initrd.length & -PAGE;
    if (initrd.length > 0 && initrdPhys < kernel.endPhys()) {
      throw KernelImage.tooSmall(ram.bytes(), kernel.endPhys() + initrd.length);
    }
    kernel.load(ram, initrd.length == 0 ? lowEnd : initrdPhys);
    if (initrd.length > 0) {
      write(ram, initrdPhys, initrd);
    }
    byte[] text = new byte[commandLine.length + 1];
    System.arraycopy(commandLine, 0, text, 0, commandLine.length);
    write(ram, BootParameters.COMMAND_LINE, text);
    BootParameters.write(ram, kernel.setupHeader(), initrdPhys, initrd.length, kernel.commandLineBytesMax());
    ProcessorTable.write(ram, vcpus);
    LongMode.writeLinuxSegments(ram);
    LongMode.mapFirst4GiB(ram, TABLES, TABLES_BYTES);
  }

  private static void write(GuestRam ram, long guestPhys, byte[] bytes) {
    long at = ram.hostVirt(guestPhys, bytes.length);
    Memory.copyFrom(bytes, 0, at, bytes.length);
    ram.wrote(at, bytes.length);
  }

  @Override
  public void prepare(int vcpu, KvmVcpu kvm) {
    if (vcpu == 0) {
      LongMode.prepareLinux(kvm, TABLES, kernel.entry(), BootParameters.PHYS);
    }
  }
}
