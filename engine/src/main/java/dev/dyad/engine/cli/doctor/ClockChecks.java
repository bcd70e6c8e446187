package dev.dyad.engine.cli.doctor;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/** Whether time can be read fast, and whether the TSC that guests see is steady. */
final class ClockChecks {
  private static final String AREA = "clock";
  private static final Set<String> FAST = Set.of("tsc", "kvm-clock", "hyperv_clocksource_tsc_page");

  private ClockChecks() {}

  static List<Finding> all(HostFiles files) {
    return List.of(source(files), tsc(files.field("/proc/cpuinfo", "flags")));
  }

  static Finding source(HostFiles files) {
    String folder = "/sys/devices/system/clocksource/clocksource0/";
    String current = files.text(folder + "current_clocksource");
    String available = files.text(folder + "available_clocksource");
    return FAST.contains(current)
        ? Finding.ok(AREA, "clock source", current, "tsc, or the hypervisor's page")
        : Finding.limited(
            AREA,
            "clock source",
            current.isEmpty() ? "unknown" : current + " (available: " + available + ")",
            "tsc, or the hypervisor's page",
            "reading the time is a system call of microseconds, and every epoch reads it several times",
            available.contains("tsc") ? "echo tsc > " + folder + "current_clocksource (as root)" : "boot with tsc=reliable if the processor has an invariant TSC");
  }

  static Finding tsc(String cpuFlags) {
    List<String> flags = List.of(cpuFlags.split(" "));
    List<String> absent = new ArrayList<>(List.of("constant_tsc", "nonstop_tsc"));
    absent.removeAll(flags);
    return absent.isEmpty()
        ? Finding.ok(AREA, "TSC", "constant and never stopping", "constant_tsc and nonstop_tsc")
        : Finding.limited(
            AREA, "TSC", "no " + String.join(", no ", absent), "constant_tsc and nonstop_tsc", "a microVM's clock may drift when its vCPUs change cores or these sleep", "pin the vCPUs, or use a newer processor");
  }
}
