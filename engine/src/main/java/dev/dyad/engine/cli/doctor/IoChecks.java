package dev.dyad.engine.cli.doctor;

import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;
import static dev.dyad.bindings.abi.uring.uring_h.IORING_OP_FALLOCATE;
import static dev.dyad.bindings.abi.uring.uring_h.IORING_OP_FSYNC;
import static dev.dyad.bindings.abi.uring.uring_h.IORING_OP_READ;
import static dev.dyad.bindings.abi.uring.uring_h.IORING_OP_WRITE;

import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.uring.Probe;
import dev.dyad.bindings.uring.Ring;
import dev.dyad.bindings.uring.RingConfig;
import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.bindings.verbs.Verbs;
import java.util.ArrayList;
import java.util.List;

/** The ways in and out: io_uring for disks, TAP and namespaces for networks, RDMA for the link. */
final class IoChecks {
  private static final String TAP = "/dev/net/tun";
  private static final int CAP_NET_ADMIN = 12;
  private static final int CAP_SYS_ADMIN = 21;

  private IoChecks() {}

  static List<Finding> all(HostFiles files) {
    List<Finding> findings = new ArrayList<>();
    findings.add(uring(files));
    findings.add(tap(files.hasCapability(CAP_NET_ADMIN)));
    findings.add(namespaces(files, files.hasCapability(CAP_SYS_ADMIN)));
    findings.add(rdma(files));
    return findings;
  }

  private static Finding uring(HostFiles files) {
    String needed = "io_uring with READ, WRITE, FSYNC, FALLOCATE";
    String consequence = "protected disks (the mirror and its NBD server) do not work; diskless guests do";
    try (Ring ring = Ring.create(RingConfig.plain(8))) {
      Probe probe = Probe.of(ring);
      boolean all = probe.supports(IORING_OP_READ()) && probe.supports(IORING_OP_WRITE()) && probe.supports(IORING_OP_FSYNC()) && probe.supports(IORING_OP_FALLOCATE());
      String found = "operations up to " + probe.lastOpcode();
      return all
          ? Finding.ok("disk", "io_uring", found, needed)
          : Finding.missing("disk", "io_uring", found, needed, consequence, "install Linux 6.1 or later, then reboot");
    } catch (NativeException e) {
      String disabled = files.text("/proc/sys/kernel/io_uring_disabled");
      boolean switchedOff = !disabled.isEmpty() && !disabled.equals("0");
      return Finding.missing(
          "disk",
          "io_uring",
          Errno.name(e.errno()) + (switchedOff ? ", io_uring_disabled " + disabled : ""),
          needed,
          consequence,
          switchedOff ? "sysctl kernel.io_uring_disabled=0 (as root)" : "use a kernel with CONFIG_IO_URING; in a container, allow its system calls");
    }
  }

  private static Finding tap(boolean privileged) {
    int fd = Files.tryOpen(TAP, O_RDWR(), 0);
    String needed = TAP + " and CAP_NET_ADMIN";
    String consequence = "guests cannot be put on a bridge of this host; a microVM's UDP service is reached without";
    if (fd < 0) {
      return Finding.limited("net", "TAP", TAP + ": " + Errno.name(-fd), needed, consequence, "modprobe tun (as root)");
    }
    FileDescriptor.adopt(fd).close();
    return privileged
        ? Finding.ok("net", "TAP", TAP + " opens, with CAP_NET_ADMIN", needed)
        : Finding.limited("net", "TAP", TAP + " opens, no CAP_NET_ADMIN", needed, consequence, "dyad nic plan, then dyad nic apply as root: the TAP belongs to this user afterwards");
  }

  static Finding namespaces(HostFiles files, boolean privileged) {
    long net = files.number("/proc/sys/user/max_net_namespaces", 0);
    long user = files.number("/proc/sys/user/max_user_namespaces", 0);
    boolean restricted = files.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1 || files.number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0;
    String needed = "network namespaces, and to make them root or user namespaces";
    String found = "at most " + net + " network, " + user + " user namespaces" + (restricted ? ", for root only" : "");
    boolean possible = net > 0 && (privileged || (user > 0 && !restricted));
    return possible
        ? Finding.ok("net", "namespaces", found, needed)
        : Finding.limited(
            "net",
            "namespaces",
            found,
            needed,
            "dyad demo --guest linux cannot make a network of its own",
            "sysctl user.max_net_namespaces=1000 user.max_user_namespaces=1000" + (restricted ? " kernel.apparmor_restrict_unprivileged_userns=0" : "") + " (as root)");
  }

  private static Finding rdma(HostFiles files) {
    String needed = "an active port of an RDMA device, and libibverbs";
    String consequence = "the link cannot be rdma; tcp and shm work";
    if (!Verbs.unavailable().isEmpty()) {
      return Finding.limited("link", "RDMA", "no libraries", needed, consequence, "apt-get install rdma-core libibverbs1 librdmacm1 ibverbs-providers");
    }
    List<String> ports = new ArrayList<>();
    boolean active = false;
    for (RdmaDevice device : RdmaDevice.list()) {
      String folder = "/sys/class/infiniband/" + device.name() + "/ports/";
      for (String port : files.names(folder)) {
        String state = files.text(folder + port + "/state");
        active |= state.contains("ACTIVE");
        ports.add(device.name() + "/" + port + " " + state);
      }
    }
    String found = ports.isEmpty() ? "no device" : String.join(", ", ports);
    return active
        ? Finding.ok("link", "RDMA", found, needed)
        : Finding.limited("link", "RDMA", found, needed, consequence, ports.isEmpty() ? "modprobe mlx5_ib, or for trying: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev DEVICE (as root)" : "ip link set DEVICE up (as root)");
  }
}
