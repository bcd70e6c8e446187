package dev.dyad.hwtests.kvm;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.TestsInHost;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * The engine's own KVM tests on the nested KVM of a lab host, which has a real dirty log and real dirty rings over nested paging. For machines that have no
 * {@code /dev/kvm}, on which the same tests are skipped; with {@code -Ddyad.kvm.lab=true} also for others. An emulated host does less of each, and waits longer.
 *
 * <p>Hosts of one processor only: with two, QEMU 7.2's emulation lets one run into the breakpoint of a kernel's jump label that the other has patched already, and the host dies of "Oops:
 * int3" in {@code __schedule}; each virtual machine that begins or ends patches some.
 */
@ExtendWith(LabExtension.class)
final class KvmInLabTest {
  @BeforeEach
  void needsNoKvm() {
    Assumptions.assumeTrue(!Kvm.unusable().isEmpty() || Boolean.getBoolean("dyad.kvm.lab"), "/dev/kvm is here: the engine's tests have run on it");
  }

  /** Every page of every epoch with both trackers and up to 8 vCPUs, rings that are full, guests that end as undisturbed ones in other machines and processes; and the faults that must show. */
  @TestFactory
  List<DynamicTest> shouldHoldEveryPageAndGoOnExactlyInsideALabHost(Lab lab) throws IOException {
    return run(lab, 0.02, 400, "ReplicaTest", "ResumeTest", "KillTest");
  }

  @TestFactory
  @Tag("lab-full")
  List<DynamicTest> shouldHoldAndGoOnManyTimesInsideALabHost(Lab lab) throws IOException {
    return run(lab, 0.25, 900, "ReplicaTest", "ResumeTest", "KillTest");
  }

  @TestFactory
  @Tag("lab-full")
  List<DynamicTest> shouldRunTheMachineItsDevicesAndTheTechniquesInsideALabHost(Lab lab) throws IOException {
    return run(lab, 0.05, 900, "MicroVmTest", "TechniquesTest", "GuestNetworkTest", "GuestDiskTest", "KvmAllocationTest");
  }

  private static List<DynamicTest> run(Lab lab, double amount, int seconds, String... classes) throws IOException {
    var host = lab.host(1);
    host.loadKvm();
    var options = List.of("-XX:TieredStopAtLevel=1", "-Ddyad.kvm.amount=" + amount, "-Ddyad.kvm.patience=4");
    var tests = Arrays.stream(classes).map(name -> "dev.dyad.engine.vm.kvm." + name).toArray(String[]::new);
    return TestsInHost.of(host, options, Duration.ofSeconds(seconds), tests);
  }
}
