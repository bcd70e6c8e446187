package dev.dyad.engine.cli.doctor;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_SYNC_X86_EVENTS;
import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_SYNC_X86_REGS;

import dev.dyad.bindings.kvm.DirtyRing;
import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.kvm.KvmCapabilities;
import java.util.ArrayList;
import java.util.List;

/** The device, and each capability that a microVM uses. */
final class KvmChecks {
  private static final String AREA = "kvm";
  private static final String NO_MICROVM = "dyad protect, the built-in guest of dyad demo and a standby for microVMs do not work";
  private static final String NEWER_KERNEL = "install Linux 6.1 or later (apt-get install linux-image-amd64), then reboot";
  private static final int RING_ENTRIES = 65_536;
  private static final long SYNCED = KVM_SYNC_X86_REGS() | KVM_SYNC_X86_EVENTS();

  private KvmChecks() {}

  static List<Finding> all(HostFiles files) {
    List<Finding> findings = new ArrayList<>();
    String unusable = Kvm.unusable();
    if (!unusable.isEmpty()) {
      findings.add(device(unusable));
      return findings;
    }
    findings.add(Finding.ok(AREA, Kvm.DEVICE, "opens for reading and writing", "access"));
    findings.add(kind(files.names("/sys/module")));
    try (Kvm kvm = Kvm.open()) {
      findings.addAll(capabilities(KvmCapabilities.probe(kvm)));
    }
    return findings;
  }

  static Finding device(String unusable) {
    String command =
        unusable.contains("EACCES")
            ? "usermod -aG kvm " + System.getProperty("user.name") + " (as root), then log in again"
            : "switch virtualization on in the firmware (in a cloud: choose a machine with nested virtualization), then modprobe kvm_intel || modprobe kvm_amd";
    return Finding.missing(AREA, Kvm.DEVICE, unusable, "read and write access", NO_MICROVM + "; dyad attach and dyad demo with a Linux do without", command);
  }

  static Finding kind(List<String> modules) {
    if (modules.contains("kvm_pvm")) {
      return Finding.limited(
          AREA,
          "kind of KVM",
          "kvm_pvm: in software",
          "kvm_intel or kvm_amd on the processor's own virtualization",
          "the built-in guest works; a Linux kernel does not come up, QEMU refuses -accel kvm, and times say nothing of real hardware",
          "use a host, or a cloud machine, with VT-x or AMD-V");
    }
    String module = modules.contains("kvm_intel") ? "kvm_intel" : modules.contains("kvm_amd") ? "kvm_amd" : "built into the kernel";
    return Finding.ok(AREA, "kind of KVM", module, "kvm_intel or kvm_amd");
  }

  static List<Finding> capabilities(KvmCapabilities kvm) {
    List<Finding> findings = new ArrayList<>();
    int ringEntries = (int) (kvm.dirtyRingBytesMax() / DirtyRing.ENTRY_BYTES);
    if (kvm.dirtyRing()) {
      findings.add(
          ringEntries >= RING_ENTRIES
              ? Finding.ok(AREA, "dirty ring", ringEntries + " entries", RING_ENTRIES + " entries")
              : Finding.limited(AREA, "dirty ring", ringEntries + " entries", RING_ENTRIES + " entries", "epochs that write more pages end early", NEWER_KERNEL));
    } else if (kvm.manualDirtyProtect()) {
      findings.add(
          Finding.limited(
              AREA, "dirty ring", "none; KVM_CLEAR_DIRTY_LOG is there", "KVM_CAP_DIRTY_LOG_RING_ACQ_REL", "pages are found by bitmaps: the pause grows with the guest's memory", NEWER_KERNEL));
    } else {
      findings.add(Finding.missing(AREA, "dirty ring", "neither a ring nor KVM_CLEAR_DIRTY_LOG", "KVM_CAP_DIRTY_LOG_RING_ACQ_REL", NO_MICROVM, NEWER_KERNEL));
    }
    findings.add(
        kvm.manualDirtyProtect()
            ? Finding.ok(AREA, "dirty log, manual protect", "there", "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2")
            : Finding.limited(AREA, "dirty log, manual protect", "none", "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", "no second way to find written pages beside the ring", NEWER_KERNEL));
    findings.add(required("immediate exit", kvm.immediateExit(), "KVM_CAP_IMMEDIATE_EXIT"));
    findings.add(required("SREGS2", kvm.sregs2(), "KVM_CAP_SREGS2"));
    findings.add(required("XCRS", kvm.xcrs(), "KVM_CAP_XCRS"));
    findings.add(Finding.ok(AREA, "XSAVE area", kvm.xsaveBytes() + " bytes", "KVM_CAP_XSAVE2, or 4096 bytes"));
    findings.add(required("interrupt chips, PIT", kvm.irqChip(), "KVM_CAP_IRQCHIP and KVM_CAP_PIT_STATE2"));
    findings.add(required("irqfd, ioeventfd", kvm.irqFd(), "KVM_CAP_IRQFD and KVM_CAP_IOEVENTFD"));
    findings.add(required("guest clock", kvm.adjustClock(), "KVM_CAP_ADJUST_CLOCK"));
    findings.add(
        (kvm.syncRegs() & SYNCED) == SYNCED
            ? Finding.ok(AREA, "synced registers", "REGS and EVENTS", "KVM_CAP_SYNC_REGS")
            : Finding.limited(AREA, "synced registers", "none", "KVM_CAP_SYNC_REGS with REGS and EVENTS", "two calls more for each vCPU in each pause", NEWER_KERNEL));
    findings.add(
        kvm.tscDeadline()
            ? Finding.ok(AREA, "TSC-deadline timer", "there", "KVM_CAP_TSC_DEADLINE_TIMER")
            : Finding.limited(AREA, "TSC-deadline timer", "none", "KVM_CAP_TSC_DEADLINE_TIMER", "guests use their LAPIC timer's other modes", NEWER_KERNEL));
    findings.add(
        kvm.tscControl()
            ? Finding.ok(AREA, "TSC scaling", "there", "KVM_CAP_TSC_CONTROL")
            : Finding.limited(AREA, "TSC scaling", "none", "KVM_CAP_TSC_CONTROL", "primary and standby need processors of the same TSC frequency", "pair this host with one of the same processor"));
    findings.add(Finding.ok(AREA, "vCPUs of a machine", "at most " + kvm.vcpusMax(), "1 or more"));
    findings.add(Finding.ok(AREA, "memory slots", "at most " + kvm.memslots(), "2"));
    return findings;
  }

  private static Finding required(String name, boolean there, String needed) {
    return there ? Finding.ok(AREA, name, "there", needed) : Finding.missing(AREA, name, "none", needed, NO_MICROVM, NEWER_KERNEL);
  }
}
