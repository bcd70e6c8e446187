package dev.dyad.hwtests.kvm;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.hwtests.lab.Lab;
import dev.dyad.hwtests.lab.LabExtension;
import dev.dyad.hwtests.lab.LabHost;
import dev.dyad.hwtests.lab.TestsInHost;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
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
  Stream<DynamicTest> shouldHoldEveryPageAndGoOnExactlyInsideLabHosts(Lab lab) throws IOException {
    return run(lab, 0.02, 400, List.of("ReplicaTest", "KillTest"), List.of("ResumeTest"));
  }

  @TestFactory
  @Tag("lab-full")
  Stream<DynamicTest> shouldHoldAndGoOnManyTimesInsideLabHosts(Lab lab) throws IOException {
    return run(lab, 0.25, 900, List.of("ReplicaTest", "KillTest"), List.of("ResumeTest"));
  }

  @TestFactory
  @Tag("lab-full")
  Stream<DynamicTest> shouldRunTheMachineItsDevicesAndTheTechniquesInsideLabHosts(Lab lab) throws IOException {
    return run(lab, 0.05, 900, List.of("MicroVmTest", "TechniquesTest", "KvmAllocationTest"), List.of("GuestNetworkTest", "GuestDiskTest"));
  }

  /** Some on the first host and some on the second one at the same time: each has one processor. */
  private static Stream<DynamicTest> run(Lab lab, double amount, int seconds, List<String> onFirst, List<String> onSecond) throws IOException {
    var first = start(lab.host(1), amount, onFirst);
    var second = start(lab.host(2), amount, onSecond);
    var bound = Duration.ofSeconds(seconds);
    return Stream.concat(first.results(bound).stream(), second.results(bound).stream());
  }

  private static TestsInHost start(LabHost host, double amount, List<String> classes) throws IOException {
    host.loadKvm();
    var options = List.of("-XX:TieredStopAtLevel=1", "-Ddyad.kvm.amount=" + amount, "-Ddyad.kvm.patience=4");
    return TestsInHost.start(host, options, classes.stream().map(name -> "dev.dyad.engine.vm.kvm." + name).toList());
  }
}
