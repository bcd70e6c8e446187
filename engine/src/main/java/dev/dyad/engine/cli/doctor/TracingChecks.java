package dev.dyad.engine.cli.doctor;

import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_ASYNC;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_UNPOPULATED;

import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.PagemapScan;
import dev.dyad.bindings.linux.Userfaultfd;
import java.util.List;

/** What protecting a foreign QEMU needs: write tracking and ptrace. */
final class TracingChecks {
  private static final String AREA = "attach";
  private static final String NO_ATTACH = "dyad attach cannot find what a QEMU writes; dyad protect works";
  private static final String NEWER_KERNEL = "install Linux 6.7 or later, then reboot";
  private static final int CAP_SYS_PTRACE = 19;

  private TracingChecks() {}

  static List<Finding> all(HostFiles files) {
    return List.of(userfaultfd(Userfaultfd.supportedFeatures()), pagemapScan(), ptrace(files.text("/proc/sys/kernel/yama/ptrace_scope"), files.hasCapability(CAP_SYS_PTRACE)));
  }

  static Finding userfaultfd(long features) {
    String needed = "asynchronous write protection (WP_ASYNC, WP_UNPOPULATED, WP_HUGETLBFS_SHMEM)";
    if (features < 0) {
      return Finding.missing(AREA, "userfaultfd", Errno.name((int) -features), needed, NO_ATTACH, "use a kernel with CONFIG_USERFAULTFD; in a container, allow the system call in its seccomp profile");
    }
    long wanted = UFFD_FEATURE_WP_ASYNC() | UFFD_FEATURE_WP_UNPOPULATED() | UFFD_FEATURE_WP_HUGETLBFS_SHMEM();
    String found = "features 0x" + Long.toHexString(features);
    return (features & wanted) == wanted
        ? Finding.ok(AREA, "userfaultfd", found + ", with asynchronous write protection", needed)
        : Finding.missing(AREA, "userfaultfd", found, needed, NO_ATTACH, NEWER_KERNEL);
  }

  private static Finding pagemapScan() {
    String needed = "ioctl PAGEMAP_SCAN";
    try (Mapping page = Mapping.anonymous(4096);
        PagemapScan scan = PagemapScan.open(0, 1)) {
      int result = scan.scan(page.hostVirt(), page.hostVirt() + 4096, 0, 1);
      return result >= 0
          ? Finding.ok(AREA, "PAGEMAP_SCAN", "there", needed)
          : Finding.missing(AREA, "PAGEMAP_SCAN", Errno.name(-result), needed, NO_ATTACH, NEWER_KERNEL);
    } catch (RuntimeException e) {
      return Finding.missing(AREA, "PAGEMAP_SCAN", String.valueOf(e.getMessage()), needed, NO_ATTACH, "mount /proc with access for this user");
    }
  }

  static Finding ptrace(String scope, boolean privileged) {
    String needed = "ptrace_scope 0, or root";
    String found = scope.isEmpty() ? "not restricted" : "ptrace_scope " + scope + (privileged ? ", and CAP_SYS_PTRACE" : "");
    if (scope.equals("3")) {
      return Finding.missing(AREA, "ptrace", found, needed, "nobody may trace a process before the next boot: dyad attach does not work", "remove kernel.yama.ptrace_scope=3 from /etc/sysctl.d, then reboot");
    }
    return privileged || scope.isEmpty() || scope.equals("0")
        ? Finding.ok(AREA, "ptrace", found, needed)
        : Finding.missing(AREA, "ptrace", found, needed, "dyad attach may not take hold of a running QEMU", "sysctl kernel.yama.ptrace_scope=0 (as root), or run dyad attach as root");
  }
}
