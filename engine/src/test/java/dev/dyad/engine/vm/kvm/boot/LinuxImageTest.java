package dev.dyad.engine.vm.kvm.boot;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.PowerState;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Kernels are read, placed and started as Linux's boot protocol says; what is none is refused in one line. */
class LinuxImageTest {
  private static final long MEMORY = 64L << 20;
  private static final byte[] INITRD = "ramdisk".getBytes(StandardCharsets.US_ASCII);

  @TempDir Path directory;

  private static byte[] kernel(String form) {
    return form.equals("elf") ? TinyKernel.elf() : TinyKernel.bzImage();
  }

  private static void await(BooleanSupplier condition, int seconds) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    while (!condition.getAsBoolean() && System.nanoTime() < end) {
      try {
        Thread.sleep(5);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"elf, 1", "bzImage, 1", "bzImage, 4"})
  void shouldStartAKernelWithItsCommandLineAndInitrd(String form, int vcpus) {
    assumeTrue(Kvm.unusable().isEmpty(), Kvm.unusable());
    StringBuffer console = new StringBuffer();
    LinuxImage image = LinuxImage.of(KernelImage.parse("tiny", kernel(form)), INITRD, "root=/dev/none quiet");
    try (MicroVm machine = new MicroVm(MicroVmConfig.of(MEMORY, vcpus).withSpins(0), c -> console.append((char) c), MachineListener.NONE)) {
      machine.boot(image);
      machine.resume();
      await(() -> machine.power() != PowerState.ON, 30);
      assertEquals("root=/dev/none quiet|ramdisk|3000", console.toString());
      assertEquals(PowerState.OFF, machine.power(), machine.powerReason());
      machine.pause();
      console.setLength(0);
      machine.reset(image);
      machine.resume();
      await(() -> machine.power() != PowerState.ON, 30);
      assertEquals("root=/dev/none quiet|ramdisk|3000", console.toString(), "after a reset");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"elf", "bzImage"})
  void shouldTellTheKernelWhatTheProtocolSays(String form) {
    byte[] file = kernel(form);
    try (GuestRam ram = new GuestRam(MEMORY, false)) {
      Memory.zero(ram.hostVirt(), MEMORY);
      LinuxImage.of(KernelImage.parse("tiny", file), INITRD, "a b").load(ram, 3);
      long page = ram.hostVirt() + BootParameters.PHYS;
      assertEquals(0x53726448, Memory.getInt(page + 0x202), "magic");
      assertEquals((short) 0xaa55, Memory.getShort(page + 0x1fe));
      assertTrue(Memory.getShort(page + 0x206) >= 0x20c);
      assertEquals((byte) 0xff, Memory.getByte(page + 0x210), "type of loader");
      assertEquals(1, Memory.getByte(page + 0x211) & 1, "loaded high");
      long initrd = Memory.getInt(page + 0x218);
      assertEquals(0, initrd % 4096);
      assertEquals(INITRD.length, Memory.getInt(page + 0x21c));
      assertEquals("ramdisk", Memory.getString(ram.hostVirt() + initrd, 7));
      assertTrue(initrd >= TinyKernel.LOAD + TinyKernel.INIT_BYTES && initrd + INITRD.length <= MEMORY);
      assertEquals("a b", Memory.getString(ram.hostVirt() + Memory.getInt(page + 0x228), 10));
      if (form.equals("bzImage")) {
        for (int at = 0x212; at < 0x26c; at++) {
          boolean ours = (at >= 0x218 && at < 0x220) || (at >= 0x228 && at < 0x22c);
          assertTrue(ours || Memory.getByte(page + at) == file[at], "0x" + Integer.toHexString(at));
        }
      }
      // The memory map: all of it, nothing twice, in order.
      assertEquals(3, Memory.getByte(page + 0x1e8));
      long end = 0;
      for (int i = 0; i < 3; i++) {
        assertEquals(end, Memory.getLong(page + 0x2d0 + 20L * i));
        end += Memory.getLong(page + 0x2d8 + 20L * i);
        assertEquals(i == 1 ? 2 : 1, Memory.getInt(page + 0x2e0 + 20L * i));
      }
      assertEquals(MEMORY, end);
    }
  }

  @Test
  void shouldMapMemoryBeyondTheDeviceHole() {
    long bytes = GuestRam.HOLE_START + (256L << 20);
    try (GuestRam ram = new GuestRam(bytes, false)) {
      LinuxImage.of(KernelImage.parse("tiny", TinyKernel.bzImage()), INITRD, "").load(ram, 1);
      long page = ram.hostVirt() + BootParameters.PHYS;
      assertEquals(4, Memory.getByte(page + 0x1e8));
      assertEquals(GuestRam.HOLE_END, Memory.getLong(page + 0x2d0 + 60));
      assertEquals(256L << 20, Memory.getLong(page + 0x2d8 + 60));
      assertTrue(Integer.toUnsignedLong(Memory.getInt(page + 0x218)) < 0x8000_0000L, "below the kernel's own bound for an initrd");
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 8, 64})
  void shouldListEveryProcessor(int vcpus) {
    try (GuestRam ram = new GuestRam(MEMORY, false)) {
      LinuxImage.of(KernelImage.parse("tiny", TinyKernel.elf()), new byte[0], "").load(ram, vcpus);
      long pointer = ram.hostVirt() + ProcessorTable.PHYS;
      assertEquals("_MP_", Memory.getString(pointer, 4));
      assertEquals(0, sum(pointer, 16));
      long table = ram.hostVirt() + Memory.getInt(pointer + 4);
      assertEquals("PCMP", Memory.getString(table, 4));
      int bytes = Memory.getShort(table + 4);
      assertEquals(0, sum(table, bytes));
      int processors = 0;
      int entries = 0;
      long at = table + 44;
      while (at < table + bytes) {
        if (Memory.getByte(at) == 0) {
          assertEquals(processors, Memory.getByte(at + 1));
          assertEquals(processors == 0 ? 3 : 1, Memory.getByte(at + 3));
          processors++;
        }
        at += Memory.getByte(at) == 0 ? 20 : 8;
        entries++;
      }
      assertEquals(vcpus, processors);
      assertEquals(entries, Memory.getShort(table + 34));
    }
  }

  private static int sum(long at, int bytes) {
    int sum = 0;
    for (int i = 0; i < bytes; i++) {
      sum += Memory.getByte(at + i);
    }
    return sum & 0xff;
  }

  private static void assertRefused(String expected, Runnable attempt) {
    String line = String.valueOf(assertThrows(IllegalArgumentException.class, attempt::run).getMessage());
    assertTrue(line.contains(expected), line);
    assertFalse(line.contains("\n"), line);
  }

  @Test
  void shouldRefuseWhatIsNoKernelInOneLine() throws IOException {
    Path missing = directory.resolve("absent");
    assertRefused("there is no such file", () -> LinuxImage.of(missing, null, ""));
    assertRefused("there is no such file", () -> LinuxImage.of(directory, null, ""));
    Path text = Files.writeString(directory.resolve("text"), "not a kernel\n".repeat(100));
    assertRefused("neither a bzImage", () -> LinuxImage.of(text, null, ""));
    Path empty = Files.createFile(directory.resolve("empty"));
    assertRefused("neither a bzImage", () -> LinuxImage.of(empty, null, ""));
    Path good = Files.write(directory.resolve("good"), TinyKernel.bzImage());
    assertRefused("initrd " + missing, () -> LinuxImage.of(good, missing, ""));
    assertRefused("command line of 3000 bytes", () -> LinuxImage.of(good, null, "x".repeat(3000)));

    byte[] old = TinyKernel.bzImage();
    old[0x206] = 4;
    assertRefused("boot protocol 2.04", () -> KernelImage.parse("k", old));
    byte[] narrow = TinyKernel.bzImage();
    narrow[0x236] = 0;
    assertRefused("without a 64-bit entry", () -> KernelImage.parse("k", narrow));
    byte[] arm = TinyKernel.elf();
    arm[18] = (byte) 183;
    assertRefused("not for 64-bit x86", () -> KernelImage.parse("k", arm));
    byte[] elsewhere = TinyKernel.elf();
    elsewhere[27] = 0x7f;
    assertRefused("in none of its segments", () -> KernelImage.parse("k", elsewhere));
    assertRefused("cut off", () -> KernelImage.parse("k", Arrays.copyOf(TinyKernel.elf(), 0x110)));
    assertRefused("cut off", () -> KernelImage.parse("k", Arrays.copyOf(TinyKernel.bzImage(), 1030)));
  }

  @Test
  void shouldRefuseAMemoryThatIsTooSmall() {
    try (GuestRam ram = new GuestRam(16L << 20, false)) {
      LinuxImage image = LinuxImage.of(KernelImage.parse("k", TinyKernel.bzImage()), INITRD, "");
      assertRefused("memory of 16 MiB: kernel and initrd alone need 19 MiB", () -> image.load(ram, 1));
    }
  }

  /** Whatever the bytes are: a kernel, or one line. */
  @Test
  void shouldTakeOrRefuseAnyBytes() {
    SplittableRandom random = new SplittableRandom(5);
    try (GuestRam ram = new GuestRam(MEMORY, false)) {
      for (int i = 0; i < 3_000; i++) {
        byte[] file = random.nextBoolean() ? TinyKernel.elf() : TinyKernel.bzImage();
        for (int change = random.nextInt(1, 6); change > 0; change--) {
          int headers = file.length > 0x268 ? random.nextInt(0x1f1, 0x268) : random.nextInt(0x78);
          file[random.nextInt(8) == 0 ? random.nextInt(file.length) : headers] = (byte) random.nextInt();
        }
        try {
          LinuxImage.of(KernelImage.parse("k", file), INITRD, "x").load(ram, 1);
        } catch (IllegalArgumentException e) {
          assertFalse(String.valueOf(e.getMessage()).contains("\n"));
        }
      }
    }
  }
}
