package dev.dyad.engine.vm.kvm.boot;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.PowerState;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A distribution's Linux comes up in the microVM. Where KVM is software, which interprets a kernel instruction by instruction, it is
 * started unpacked and skipped, with what it came to, when it does not come up.
 */
class RealLinuxTest {
  private static final long MEMORY = 512L << 20;
  private static final int SECONDS = 30;
  private static final int SECONDS_IN_SOFTWARE = 12;
  private static final String BANNER = "Linux version ";
  private static final String UP = "Run /init as init process";

  @TempDir Path directory;

  @Test
  void shouldComeUp() throws IOException, InterruptedException {
    assumeTrue(Kvm.unusable().isEmpty(), Kvm.unusable());
    LinuxGuest guest;
    try {
      guest = LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      abort(String.valueOf(e.getMessage()));
      return;
    }
    boolean software = Files.exists(Path.of("/sys/module/kvm_pvm"));
    String options = LinuxImage.MACHINE_OPTIONS + " nokaslr tsc=reliable" + (software ? " earlyprintk=serial,ttyS0,115200 clearcpuid=cx16 noxsave" : "");
    LinuxImage image = LinuxImage.of(software ? unpacked(guest.kernel()) : guest.kernel(), guest.initramfs(), options);
    StringBuffer console = new StringBuffer();
    try (MicroVm machine = new MicroVm(MicroVmConfig.of(MEMORY, 1).withSpins(0), c -> console.append((char) c), MachineListener.NONE)) {
      machine.boot(image);
      machine.resume();
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(software ? SECONDS_IN_SOFTWARE : SECONDS);
      while (console.indexOf(UP) < 0 && machine.power() == PowerState.ON && System.nanoTime() < end) {
        Thread.sleep(20);
      }
      String came = console.length() + " characters printed, then " + machine.power() + " " + machine.powerReason() + "; the last: " + console.substring(Math.max(0, console.length() - 200));
      if (software && console.indexOf(UP) < 0) {
        abort("KVM is software here (kvm_pvm) and Linux does not come up in it: " + came);
      }
      assertTrue(console.indexOf(BANNER) >= 0, came);
      assertTrue(console.indexOf(UP) >= 0, came);
      assertTrue(console.indexOf("Command line: " + options) >= 0, came);
    }
  }

  /** The vmlinux inside a bzImage. */
  private Path unpacked(Path bzImage) throws IOException, InterruptedException {
    byte[] file = Files.readAllBytes(bzImage);
    ByteBuffer header = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    int start = ((header.get(0x1f1) & 0xff) + 1) * 512 + header.getInt(0x248);
    byte[] payload = Arrays.copyOfRange(file, start, start + header.getInt(0x24c));
    String tool = payload[0] == (byte) 0xfd ? "xz" : payload[0] == 0x1f ? "gzip" : payload[0] == 0x28 ? "zstd" : "lz4";
    Path packed = Files.write(directory.resolve("payload"), payload);
    Path vmlinux = directory.resolve("vmlinux");
    try {
      // The last four bytes are the unpacked size: every tool complains about them and has written everything by then.
      new ProcessBuilder(tool, "-dc").redirectInput(packed.toFile()).redirectOutput(vmlinux.toFile()).redirectError(ProcessBuilder.Redirect.DISCARD).start().waitFor();
    } catch (IOException e) {
      abort("KVM is software here (kvm_pvm), and " + tool + ", which unpacks this kernel for it, is not installed");
    }
    return vmlinux;
  }
}
