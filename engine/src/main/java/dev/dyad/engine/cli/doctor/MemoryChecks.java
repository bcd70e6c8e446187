package dev.dyad.engine.cli.doctor;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Limits;
import java.util.List;

/** What may be locked, and pages larger than 4 KiB. */
final class MemoryChecks {
  private static final String AREA = "memory";
  private static final int CAP_IPC_LOCK = 14;

  private MemoryChecks() {}

  static List<Finding> all(HostFiles files) {
    return List.of(
        memlock(Limits.soft(linux_h.RLIMIT_MEMLOCK()), Limits.hard(linux_h.RLIMIT_MEMLOCK()), files.hasCapability(CAP_IPC_LOCK)), hugePages(files));
  }

  static Finding memlock(long soft, long hard, boolean privileged) {
    String found = "soft " + size(soft) + ", hard " + size(hard) + (privileged ? ", and CAP_IPC_LOCK" : "");
    String needed = "unlimited, or CAP_IPC_LOCK";
    if (privileged || soft == Limits.INFINITY) {
      return Finding.ok(AREA, "memlock", found, needed);
    }
    return Finding.limited(
        AREA,
        "memlock",
        found,
        needed,
        "guest memory cannot be registered with an RDMA device, nor large buffers with io_uring; links by tcp and shm work",
        hard == Limits.INFINITY ? "ulimit -l unlimited" : "echo '* - memlock unlimited' >> /etc/security/limits.d/dyad.conf (as root), then log in again");
  }

  private static String size(long bytes) {
    return bytes == Limits.INFINITY ? "unlimited" : bytes / 1024 + " KiB";
  }

  static Finding hugePages(HostFiles files) {
    String total = files.field("/proc/meminfo", "HugePages_Total");
    String free = files.field("/proc/meminfo", "HugePages_Free");
    String size = files.field("/proc/meminfo", "Hugepagesize");
    String needed = "one of 2 MiB for each 2 MiB of guest memory";
    if (!free.isEmpty() && !free.equals("0")) {
      return Finding.ok(AREA, "huge pages", free + " of " + total + " free, of " + size, needed);
    }
    return Finding.limited(
        AREA,
        "huge pages",
        total.isEmpty() ? "this kernel has none" : free + " of " + total + " free, of " + size,
        needed,
        "guest memory lies on pages of 4 KiB: everything works, memory accesses of a large guest cost more",
        "sysctl vm.nr_hugepages=512 (1 GiB, as root), then dyad protect --huge-pages");
  }
}
