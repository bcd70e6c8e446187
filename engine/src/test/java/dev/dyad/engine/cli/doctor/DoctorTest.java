package dev.dyad.engine.cli.doctor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.kvm.KvmCapabilities;
import dev.dyad.bindings.linux.Limits;
import dev.dyad.engine.cli.Dyad;
import dev.dyad.engine.cli.doctor.Finding.Level;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** What is wanting is found, and said with what follows and what to run. */
class DoctorTest {
  private static final KvmCapabilities ALL = new KvmCapabilities(8, 32, 1 << 20, true, true, 7, true, 4096, true, true, true, true, true, true, true);

  @TempDir Path root;

  private HostFiles host(Map<String, String> files) throws IOException {
    for (Map.Entry<String, String> file : files.entrySet()) {
      Path path = root.resolve(file.getKey().substring(1));
      Files.createDirectories(path.getParent());
      Files.writeString(path, file.getValue());
    }
    return new HostFiles(root);
  }

  private static Level level(List<Finding> findings, String name) {
    return findings.stream().filter(finding -> finding.name().equals(name)).findFirst().orElseThrow().level();
  }

  @Test
  void shouldFindNothingWantingInACompleteKvm() {
    assertTrue(KvmChecks.capabilities(ALL).stream().allMatch(finding -> finding.level() == Level.OK));
  }

  @Test
  void shouldTellWhatAKvmLacks() {
    KvmCapabilities poor = new KvmCapabilities(8, 32, 0, true, false, 0, false, 4096, false, false, false, true, false, false, false);
    List<Finding> findings = KvmChecks.capabilities(poor);
    assertEquals(Level.LIMITED, level(findings, "dirty ring"));
    assertEquals(Level.LIMITED, level(findings, "synced registers"));
    for (String required : List.of("immediate exit", "SREGS2", "XCRS", "interrupt chips, PIT", "irqfd, ioeventfd", "guest clock")) {
      assertEquals(Level.MISSING, level(findings, required), required);
    }
    KvmCapabilities blind = new KvmCapabilities(8, 32, 0, false, true, 7, true, 4096, true, true, true, true, true, true, true);
    assertEquals(Level.MISSING, level(KvmChecks.capabilities(blind), "dirty ring"));
  }

  /** What the machine itself asks for and what the doctor calls missing are the same. */
  @Test
  void shouldCallMissingWhatTheMachineRefusesToStartWithout() {
    KvmCapabilities poor = new KvmCapabilities(8, 32, 0, false, false, 0, false, 4096, false, false, false, false, false, false, false);
    long missing = KvmChecks.capabilities(poor).stream().filter(finding -> finding.level() == Level.MISSING).count();
    assertEquals(poor.missing().size(), missing);
  }

  @Test
  void shouldTellOneWhoMayNotOpenKvmWhichGroupToJoin() {
    assertTrue(KvmChecks.device("/dev/kvm: EACCES").command().contains("usermod -aG kvm"));
    assertTrue(KvmChecks.device("/dev/kvm: ENOENT").command().contains("modprobe"));
    assertEquals(Level.MISSING, KvmChecks.device("/dev/kvm: ENOENT").level());
  }

  @Test
  void shouldTellASoftwareKvmFromOneOfTheProcessor() {
    assertEquals(Level.LIMITED, KvmChecks.kind(List.of("kvm", "kvm_pvm")).level());
    assertEquals(Level.OK, KvmChecks.kind(List.of("kvm", "kvm_amd")).level());
  }

  @Test
  void shouldJudgeMemoryLimits() throws IOException {
    assertEquals(Level.OK, MemoryChecks.memlock(Limits.INFINITY, Limits.INFINITY, false).level());
    assertEquals(Level.OK, MemoryChecks.memlock(8 << 20, 8 << 20, true).level());
    assertEquals("ulimit -l unlimited", MemoryChecks.memlock(8 << 20, Limits.INFINITY, false).command());
    assertEquals(Level.LIMITED, MemoryChecks.memlock(8 << 20, 8 << 20, false).level());
    HostFiles none = host(Map.of("/proc/meminfo", "HugePages_Total:       4\nHugePages_Free:        0\nHugepagesize:       2048 kB\n"));
    assertEquals(Level.LIMITED, MemoryChecks.hugePages(none).level());
    HostFiles some = host(Map.of("/proc/meminfo", "HugePages_Total:       4\nHugePages_Free:        3\nHugepagesize:       2048 kB\n"));
    assertEquals("3 of 4 free, of 2048 kB", MemoryChecks.hugePages(some).found());
    assertEquals(Level.OK, MemoryChecks.hugePages(some).level());
  }

  @Test
  void shouldJudgeWhoMayTrace() {
    assertEquals(Level.OK, TracingChecks.ptrace("", false).level());
    assertEquals(Level.OK, TracingChecks.ptrace("0", false).level());
    assertEquals(Level.OK, TracingChecks.ptrace("1", true).level());
    assertEquals(Level.MISSING, TracingChecks.ptrace("1", false).level());
    assertEquals(Level.MISSING, TracingChecks.ptrace("3", true).level());
    assertEquals(Level.MISSING, TracingChecks.userfaultfd(-1).level());
    assertEquals(Level.MISSING, TracingChecks.userfaultfd(1).level());
    assertEquals(Level.OK, TracingChecks.userfaultfd(0xffff).level());
  }

  @Test
  void shouldJudgeClocks() throws IOException {
    String folder = "/sys/devices/system/clocksource/clocksource0/";
    assertEquals(Level.OK, ClockChecks.source(host(Map.of(folder + "current_clocksource", "tsc\n"))).level());
    Finding slow = ClockChecks.source(host(Map.of(folder + "current_clocksource", "hpet\n", folder + "available_clocksource", "tsc hpet\n")));
    assertEquals(Level.LIMITED, slow.level());
    assertTrue(slow.command().contains("echo tsc"));
    assertEquals(Level.OK, ClockChecks.tsc("fpu constant_tsc nonstop_tsc sse").level());
    assertEquals("no nonstop_tsc", ClockChecks.tsc("fpu constant_tsc sse").found());
  }

  @Test
  void shouldJudgeNamespaces() throws IOException {
    HostFiles some = host(Map.of("/proc/sys/user/max_net_namespaces", "100\n", "/proc/sys/user/max_user_namespaces", "0\n"));
    assertEquals(Level.OK, IoChecks.namespaces(some, true).level());
    assertEquals(Level.LIMITED, IoChecks.namespaces(some, false).level());
  }

  @Test
  void shouldReadCapabilitiesOfAProcess() throws IOException {
    HostFiles files = host(Map.of("/proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\n"));
    assertTrue(files.hasCapability(14));
    assertFalse(files.hasCapability(13));
  }

  @Test
  void shouldRefuseAnotherJdk() {
    assertEquals(Level.MISSING, JavaChecks.version(21, "21").level());
    assertEquals(Level.OK, JavaChecks.version(25, "25").level());
    assertEquals(Level.LIMITED, JavaChecks.nativeAccess(List.of("-Xmx1g")).level());
    assertEquals(Level.LIMITED, JavaChecks.cores(2).level());
  }

  /** On whatever host this runs: the exit code says the same as the object, and whatever is wanting has a way out. */
  @Test
  void shouldSayTheSameInItsExitCodeAsInItsObject() {
    StringWriter text = new StringWriter();
    CommandLine line = Dyad.commandLine().setOut(new PrintWriter(text));
    int code = line.execute("doctor", "-o", "json");
    Json report = Json.parse(text.toString().strip());
    assertEquals(report.get("ok").isTrue() ? 0 : 1, code);
    assertTrue(report.get("findings").elements().size() > 10);
    for (Json finding : report.get("findings").elements()) {
      boolean isOk = finding.get("level").text().equals("ok");
      assertFalse(finding.get("found").text().isEmpty(), finding.toString());
      assertFalse(finding.get("needed").text().isEmpty(), finding.toString());
      assertEquals(isOk, finding.get("consequence").text().isEmpty(), finding.toString());
      assertEquals(isOk, finding.get("command").text().isEmpty(), finding.toString());
    }
  }
}
