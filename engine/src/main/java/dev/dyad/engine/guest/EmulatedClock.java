package dev.dyad.engine.guest;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Under TCG the guest's TSC is the host's, and a guest that measures its rate while the host is busy gets it wrong by factors: its clock runs 25 times
 * too fast from then on, and every bound in it is over at once. Where this host is a virtual machine itself, its own reading of the rate is exact and
 * can be passed on.
 *
 * <p>Any thread; cold code.
 */
public final class EmulatedClock {
  private EmulatedClock() {}

  /** Words for an emulated guest's kernel command line; empty where the guest has to measure. */
  public static String kernelWords() {
    try {
      return kernelWords(Files.readAllLines(Path.of("/proc/cpuinfo")));
    } catch (IOException e) {
      return ""; // the guest measures
    }
  }

  static String kernelWords(List<String> cpuInfo) {
    boolean virtual = cpuInfo.stream().anyMatch(line -> line.startsWith("flags") && line.contains(" hypervisor"));
    return cpuInfo.stream()
        .filter(line -> virtual && line.startsWith("cpu MHz"))
        .findFirst()
        .map(line -> "tsc_early_khz=" + Math.round(Double.parseDouble(line.substring(line.indexOf(':') + 1).strip()) * 1_000))
        .orElse("");
  }
}
