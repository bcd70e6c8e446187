package dev.dyad.hwtests.lab;

import dev.dyad.engine.guest.Tool;
import dev.dyad.engine.guest.GuestUnavailableException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * What a lab is made of.
 *
 * @param hosts 2, or 1 for a host alone whose RDMA device leads nowhere (tests of verbs)
 * @param memoryMib of each host
 * @param cpus of each host
 */
public record LabConfig(int hosts, int memoryMib, int cpus) {
  private static final int OVERHEAD_MIB = 300;
  private static final List<String> TOOLS = List.of("qemu-system-x86_64", "busybox", "ip", "rdma", "tc");

  public LabConfig {
    if (hosts < 1 || hosts > 2) {
      throw new IllegalArgumentException("a lab of " + hosts + " hosts: 1 or 2 are possible");
    }
  }

  public static LabConfig pair() {
    return new LabConfig(2, Integer.getInteger("dyad.lab.memoryMib", 1024), 1);
  }

  /** One host with two processors. */
  public static LabConfig alone() {
    return new LabConfig(1, Integer.getInteger("dyad.lab.memoryMib", 1024), 2);
  }

  /** Hardware virtualization that QEMU can use; the software KVM of some clouds aborts it. */
  static boolean realKvm() {
    var device = Path.of("/dev/kvm");
    return Files.isReadable(device) && Files.isWritable(device) && !Files.exists(Path.of("/sys/module/kvm_pvm"));
  }

  /** Throws with the one reason why no lab can run here, before anything is started. */
  void requireTools() throws GuestUnavailableException, IOException {
    for (var tool : TOOLS) {
      if (Tool.find(tool).isEmpty()) {
        throw new GuestUnavailableException("the lab needs " + tool + ", which is not here: apt-get install " + packageOf(tool));
      }
    }
    if (!Files.exists(Path.of("/usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav34.so")) && !Files.exists(Path.of("/etc/libibverbs.d/rxe.driver"))) {
      throw new GuestUnavailableException("the lab needs the rxe provider of libibverbs, which is not here: apt-get install ibverbs-providers");
    }
    var qemu = Tool.find("qemu-system-x86_64").orElseThrow();
    requireListed(qemu, List.of("-netdev", "help"), "dgram");
    requireListed(qemu, List.of("-netdev", "help"), "user");
    requireListed(qemu, List.of("-device", "help"), "virtio-9p-pci");
    long available = availableMib();
    long needed = (long) hosts * (memoryMib + OVERHEAD_MIB);
    if (available < needed) {
      throw new GuestUnavailableException("the lab needs " + needed + " MiB of free memory, here are " + available);
    }
  }

  private static void requireListed(Path qemu, List<String> options, String word) throws GuestUnavailableException, IOException {
    var listing = new String(Tool.run(Path.of("/"), 30, List.of(qemu.toString(), options.get(0), options.get(1))), StandardCharsets.UTF_8);
    if (!listing.contains(word)) {
      throw new GuestUnavailableException(qemu + " knows no " + options.getFirst() + " " + word + ": QEMU 7.2 or later is needed");
    }
  }

  private static String packageOf(String tool) {
    return switch (tool) {
      case "qemu-system-x86_64" -> "qemu-system-x86";
      case "busybox" -> "busybox-static";
      default -> "iproute2";
    };
  }

  private static long availableMib() throws IOException {
    for (var line : Files.readAllLines(Path.of("/proc/meminfo"))) {
      if (line.startsWith("MemAvailable:")) {
        return Long.parseLong(line.replaceAll("\\D", "")) / 1024;
      }
    }
    return 0;
  }
}
