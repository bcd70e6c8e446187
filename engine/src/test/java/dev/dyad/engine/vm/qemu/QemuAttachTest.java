package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.SYS_pidfd_getfd;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_userfaultfd;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class QemuAttachTest {
  private static final int STATE_BYTES = 4 << 20;
  private static final int CLEAN_EPOCHS = 1_000;

  @SuppressWarnings("NullAway.Init")
  private static GuestMachine guest;

  @BeforeAll
  static void bootGuest() {
    guest = TestGuest.boot(TestGuest.directory(), options -> options);
  }

  @AfterAll
  static void endGuest() {
    if (guest != null) {
      guest.close();
    }
  }

  @Test
  void shouldHoldTheGuestsExactMemoryAfterBaselineAndHarvests() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp())) {
      Replay.assertReplicaEqualsGuest(qemu, 20);
    }
    assertGuestRunsOn();
  }

  @Test
  void shouldAllocateNothingInSteadyState() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    try (QemuAttach qemu = QemuAttach.attach((int) guest.pid());
        Mapping pages = Mapping.anonymous(64L << 20);
        Mapping state = Mapping.anonymous(STATE_BYTES)) {
      qemu.startTracking();
      DirtyPages dirty = new DirtyPages(1 << 14);
      // The compilers allocate until all is compiled, and again when a compilation is undone for once: the first thousand epochs in a row without a byte will do.
      long allocated = threads.getCurrentThreadAllocatedBytes();
      int clean = 0;
      for (int epoch = 1; epoch - clean <= CLEAN_EPOCHS; epoch++) {
        assertTrue(epoch < 8 * CLEAN_EPOCHS, "no " + CLEAN_EPOCHS + " epochs in a row allocate nothing");
        dirty.clear();
        qemu.pause();
        boolean all = qemu.harvest(dirty);
        qemu.copyPages(dirty, pages.hostVirt());
        int bytes = qemu.captureState(state.hostVirt(), STATE_BYTES);
        qemu.resume();
        assertTrue(all && bytes > 1024);
        long now = threads.getCurrentThreadAllocatedBytes();
        if (now != allocated) {
          allocated = now;
          clean = epoch;
        }
      }
    }
    assertGuestRunsOn();
  }

  @Test
  void shouldLeaveARunningOrphanWhenTheProtectorDiesInTheMiddleOfAPause() throws Exception {
    Process protector = DyingProcess.start("pause", guest.qmp().toString());
    assertEquals("paused", protector.inputReader().readLine());
    protector.destroyForcibly().waitFor();
    assertGuestRunsOn();
    AttachmentMark.Orphan orphan = AttachmentMark.orphans().stream().filter(found -> found.qemuPid() == guest.pid()).findFirst().orElseThrow();
    assertEquals(protector.pid(), orphan.protectorPid());
    assertTrue(orphan.advice().contains("dyad attach --qmp " + guest.qmp()), orphan.advice());
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp())) {
      assertTrue(AttachmentMark.orphans().stream().noneMatch(found -> found.qemuPid() == guest.pid()));
      Replay.assertReplicaEqualsGuest(qemu, 5);
    }
  }

  @Test
  void shouldAttachToTheSandboxedQemuOfAnOrdinaryUser() {
    Assumptions.assumeTrue(System.getProperty("user.name").equals("root"), "only root can start QEMU as another user");
    try (IdleQemu other = IdleQemu.start(List.of("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"), "-sandbox", "on");
        QemuAttach qemu = QemuAttach.attach(other.qmp());
        Mapping state = Mapping.anonymous(STATE_BYTES)) {
      qemu.startTracking();
      qemu.pause();
      assertTrue(qemu.harvest(new DirtyPages(1 << 14)));
      assertTrue(qemu.captureState(state.hostVirt(), STATE_BYTES) > 1024);
      qemu.resume();
    }
  }

  @Test
  void shouldSayInOneLineThatAnOrdinaryUserMayNotTraceAnotherUsersQemu() throws Exception {
    Assumptions.assumeTrue(System.getProperty("user.name").equals("root"), "only root can become another user");
    List<String> nobody = List.of("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups");
    try (IdleQemu roots = IdleQemu.start(List.of())) {
      Files.setPosixFilePermissions(roots.qmp(), PosixFilePermissions.fromString("rwxrwxrwx"));
      Process attaching = DyingProcess.startAs(nobody, readableByAll(System.getProperty("java.class.path")), "attach", roots.qmp().toString());
      List<String> said = attaching.inputReader().readAllLines();
      assertEquals(1, said.size(), said.toString());
      assertTrue(said.getFirst().contains("run dyad as the user that runs QEMU, or as root"), said.toString());
    }
  }

  @Test
  void shouldSayInOneLineThatTheCapabilityToTraceIsMissing() throws Exception {
    Assumptions.assumeTrue(System.getProperty("user.name").equals("root"), "only root has a capability to go without");
    try (IdleQemu privileged = IdleQemu.start(List.of())) {
      Process attaching = DyingProcess.startAs(List.of("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"), System.getProperty("java.class.path"), "attach",
          privileged.qmp().toString());
      List<String> said = attaching.inputReader().readAllLines();
      assertEquals(1, said.size(), said.toString());
      assertTrue(said.getFirst().contains("CAP_SYS_PTRACE"), said.toString());
    }
  }

  /** Copies of all that is on the class path: a build and its libraries may lie in folders that are root's alone. */
  private static String readableByAll(String classPath) throws IOException {
    Path copies = TestGuest.directory();
    Files.setPosixFilePermissions(copies, PosixFilePermissions.fromString("rwxr-xr-x"));
    List<String> entries = new ArrayList<>();
    for (String entry : classPath.split(":")) {
      Path from = Path.of(entry);
      Path to = copies.resolve(entries.size() + "-" + from.getFileName());
      entries.add(to.toString());
      try (Stream<Path> tree = Files.exists(from) ? Files.walk(from) : Stream.empty()) {
        for (Path file : tree.toList()) {
          Files.copy(file, to.resolve(from.relativize(file).toString()));
        }
      }
    }
    return String.join(":", entries);
  }

  @ParameterizedTest
  @CsvSource({"1, is refused to process", "38, or the seccomp filter of process"})
  void shouldSayInOneLineThatASeccompFilterForbidsUserfaultfd(int errno, String line) throws Exception {
    FutureTask<IdleQemu> start =
        new FutureTask<>(
            () -> {
              SeccompFilter.refuse(SYS_userfaultfd(), errno);
              return IdleQemu.start(List.of());
            });
    Thread.ofPlatform().start(start); // a thread of its own, since the filter stays
    try (IdleQemu filtered = started(start)) {
      QemuException refusal = assertThrows(QemuException.class, () -> QemuAttach.attach(filtered.qmp()));
      String said = String.valueOf(refusal.getMessage());
      assertTrue(said.contains(line) && said.contains("seccomp filter") && !said.contains("\n"), said);
    }
  }

  @ParameterizedTest
  @CsvSource({"1, CAP_SYS_PTRACE", "24, ulimit -n"})
  void shouldSayInOneLineWhatATakenDescriptorNeeds(int errno, String advice) throws Exception {
    try (IdleQemu other = IdleQemu.start(List.of())) {
      FutureTask<QemuException> attach =
          new FutureTask<>(
              () -> {
                SeccompFilter.refuse(SYS_pidfd_getfd(), errno);
                return assertThrows(QemuException.class, () -> QemuAttach.attach(other.qmp()));
              });
      Thread.ofPlatform().start(attach);
      String said = String.valueOf(started(attach).getMessage());
      assertTrue(said.contains("pidfd_getfd " + Errno.name(errno)) && said.contains(advice) && !said.contains("\n"), said);
      QemuAttach.attach(other.qmp()).close(); // nothing is left that would forbid it
    }
  }

  private static <T> T started(FutureTask<T> start) throws Exception {
    try {
      return start.get();
    } catch (ExecutionException e) {
      Assumptions.assumeFalse(e.getCause() instanceof NativeException, () -> "this process may not have a seccomp filter of its own: " + e.getCause());
      throw e;
    }
  }

  @Test
  void shouldRefuseDevicesThatTheStandbyWouldLackOrHaveTooMany() {
    try (IdleQemu other = IdleQemu.start(List.of(), "-device", "virtio-balloon-pci,id=balloon0", "-device", "virtio-rng-pci", "-device", "pcie-root-port,id=port0,chassis=1",
            "-device", "pcie-root-port,id=port1,chassis=2");
        QmpChannel qmp = QmpChannel.connect(other.qmp())) {
      PluggedDevices.refuse(qmp, new QemuProcess(other.pid()).commandLine());
      qmp.execute("device_add", "{\"driver\":\"virtio-rng-pci\",\"bus\":\"port0\"}");
      assertRefused(qmp, other, "virtio-rng-pci was plugged in while QEMU ran");
      qmp.execute("device_add", "{\"driver\":\"virtio-rng-pci\",\"id\":\"late0\",\"bus\":\"port1\"}");
      assertRefused(qmp, other, "device late0 (virtio-rng-pci) was plugged in");
    }
  }

  /** Video memory that no firmware has mapped yet; a guess would replicate one of them twice. */
  @Test
  void shouldRefuseBlocksThatItCannotTellApart() {
    try (IdleQemu other = IdleQemu.start(List.of(), "-device", "secondary-vga", "-device", "secondary-vga"); QmpChannel qmp = QmpChannel.connect(other.qmp())) {
      Assumptions.assumeTrue(Integer.parseInt(QemuAttach.versionOf(qmp).replaceAll("\\..*", "")) < 8, "this QEMU says where its blocks are");
      String said = String.valueOf(assertThrows(QemuException.class, () -> RamBlocks.find(qmp, new QemuProcess(other.pid()))).getMessage());
      assertTrue(said.contains("cannot be told from 2 mappings of that size: QEMU 8.1 or later") && !said.contains("\n"), said);
    }
  }

  private static void assertRefused(QmpChannel qmp, IdleQemu other, String message) {
    QemuException refusal = assertThrows(QemuException.class, () -> PluggedDevices.refuse(qmp, new QemuProcess(other.pid()).commandLine()));
    String text = String.valueOf(refusal.getMessage());
    assertTrue(text.contains(message) && !text.contains("\n"), text);
  }

  /** A block of 2 MiB pages is tracked by such pages; transparent ones are split where they are written. */
  @Test
  void shouldHoldTheExactMemoryOfAGuestOnHugePages() throws Exception {
    try (HugePages pages = HugePages.reserve(100)) {
      GuestMachine huge = TestGuest.boot(TestGuest.directory(), options -> options.sharedMemory("memory-backend-memfd,hugetlb=on,id=ram,share=on,size=160M"));
      try (QemuAttach qemu = QemuAttach.attach(huge.qmp())) {
        Replay.assertReplicaEqualsGuest(qemu, 20);
        assertTrue(pages.inUse() > 0, "the guest runs on huge pages");
      } finally {
        huge.close();
      }
    }
  }

  @Test
  void shouldFindSinglePagesInMemoryOfTransparentHugePages() throws Exception {
    try (TransparentHugePages asked = TransparentHugePages.always();
        GuestMachine large = TestGuest.boot(TestGuest.directory(), options -> options);
        QemuAttach qemu = QemuAttach.attach(large.qmp())) {
      long before = TransparentHugePages.kib(large.pid());
      Assumptions.assumeTrue(before > 32 << 10, "memory is too fragmented for transparent huge pages: " + before + " KiB are");
      long changed = Replay.assertReplicaEqualsGuest(qemu, 40);
      System.out.printf("transparent huge pages: %d MiB of the guest before, %d after, %d pages in 40 harvests%n", before >> 10, TransparentHugePages.kib(large.pid()) >> 10, changed);
      // The guest writes some 300 pages between two harvests; all of each huge page that it touches would be far more.
      assertTrue(changed < 40 * 2_000, changed + " pages in 40 harvests");
    }
  }

  @Test
  void shouldKeepPagesForTheNextHarvestWhenTheListIsFull() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp())) {
      qemu.startTracking();
      DirtyPages small = new DirtyPages(3);
      boolean[] seen = new boolean[(int) qemu.memory().ramPages()];
      qemu.pause();
      DirtyPages all = new DirtyPages(1 << 16);
      qemu.harvest(all);
      qemu.resume();
      sleepMillis(300);
      qemu.pause();
      int rounds = 0;
      boolean done = false;
      while (!done) {
        small.clear();
        done = qemu.harvest(small);
        rounds++;
        for (int i = 0; i < small.runCount(); i++) {
          for (int page = 0; page < DirtyPages.pageCount(small.run(i)); page++) {
            seen[(int) DirtyPages.firstPage(small.run(i)) + page] = true;
          }
        }
      }
      int found = 0;
      for (boolean page : seen) {
        found += page ? 1 : 0;
      }
      assertTrue(rounds > 1 && found >= 50, rounds + " rounds, " + found + " pages");
      qemu.resume();
    }
  }

  @Test
  void shouldLeaveTheGuestRunningWhenClosedInTheMiddleOfAPause() {
    QemuAttach qemu = QemuAttach.attach(guest.qmp());
    qemu.startTracking();
    qemu.pause();
    qemu.close();
    assertGuestRunsOn();
  }

  @Test
  void shouldLetTheGuestRunOnWhenAnEpochIsGivenUp() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp())) {
      qemu.startTracking();
      qemu.pause();
      qemu.resume();
      assertTrue(qemu.running());
      assertGuestRunsOn();
    }
  }

  @Test
  void shouldCaptureAHaltedGuestWithoutLettingItRun() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp()); Mapping state = Mapping.anonymous(STATE_BYTES)) {
      qemu.startTracking();
      qemu.halt();
      assertFalse(qemu.running());
      qemu.pause();
      assertTrue(qemu.captureState(state.hostVirt(), STATE_BYTES) > 1024);
      qemu.resume();
      assertFalse(qemu.running());
      qemu.unhalt();
      assertGuestRunsOn();
    }
  }

  @Test
  void shouldSayWhenTheStateDoesNotFitAndLetTheGuestRunOn() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp()); Mapping state = Mapping.anonymous(4096)) {
      qemu.startTracking();
      qemu.pause();
      QemuException refusal = assertThrows(QemuException.class, () -> qemu.captureState(state.hostVirt(), 4096));
      assertTrue(String.valueOf(refusal.getMessage()).contains("4096"));
      qemu.resume();
    }
    assertGuestRunsOn();
  }

  @Test
  void shouldRefuseASecondProtector() {
    try (QemuAttach first = QemuAttach.attach(guest.qmp())) {
      QemuException refusal = assertThrows(QemuException.class, () -> QemuAttach.attach(guest.qmp()));
      assertTrue(String.valueOf(refusal.getMessage()).contains("another client"), refusal.toString());
      assertEquals(guest.pid(), first.pid());
    }
  }

  @Test
  void shouldFindWhatTheGuestCanWriteAndItsFirmware() {
    try (QemuAttach qemu = QemuAttach.attach(guest.qmp())) {
      assertEquals("pc.ram", qemu.memory().blocks().getFirst().name());
      assertEquals(160L << 20, qemu.memory().blocks().getFirst().bytes());
      assertTrue(qemu.memory().blocks().stream().anyMatch(block -> block.name().equals("pc.bios")));
      for (GuestMemory.Block block : qemu.memory().blocks()) {
        assertFalse(block.name().contains("rom"), block.name());
      }
    }
  }

  @Test
  void shouldSayWhatToDoWhenThereIsNoQemu() {
    QemuException refusal = assertThrows(QemuException.class, () -> QemuAttach.attach(Path.of("/nonexistent/qmp")));
    assertTrue(String.valueOf(refusal.getMessage()).contains("-qmp unix:"), refusal.toString());
  }

  private static void assertGuestRunsOn() {
    long now = Long.parseLong(lastTick());
    guest.awaitConsole(Pattern.compile(LinuxGuest.TICK.replace("([0-9]+) uptime", (now + 3) + " uptime")), Duration.ofSeconds(30));
    assertTrue(guest.alive());
  }

  private static String lastTick() {
    return GuestMachine.consoleLines(guest.console()).stream().filter(line -> line.matches(LinuxGuest.TICK)).reduce("", (a, b) -> b).split(" ")[2];
  }

  private static void sleepMillis(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  /** Keeps a replica as a standby would, and compares it with the paused guest. */
  static final class Replay {
    private Replay() {}

    /** @return how many pages were harvested */
    static long assertReplicaEqualsGuest(QemuAttach qemu, int epochs) {
      long bytes = qemu.memory().ramPages() << GuestMemory.PAGE_SHIFT;
      try (Mapping replica = Mapping.anonymous(bytes); Mapping state = Mapping.anonymous(STATE_BYTES); Mapping staging = Mapping.anonymous(bytes)) {
        DirtyPages dirty = new DirtyPages(1 << 16);
        qemu.startTracking();
        DirtyPages everything = new DirtyPages(1 << 16);
        everything.add(0, qemu.memory().ramPages());
        qemu.copyPages(everything, replica.hostVirt());
        long changed = 0;
        for (int epoch = 0; epoch < epochs; epoch++) {
          dirty.clear();
          qemu.pause();
          assertTrue(qemu.harvest(dirty));
          qemu.copyPages(dirty, staging.hostVirt());
          apply(dirty, staging.hostVirt(), replica.hostVirt());
          changed += dirty.pageCount();
          if (epoch == epochs - 1) {
            qemu.copyPages(everything, staging.hostVirt());
            assertEquals(-1, Memory.mismatch(replica.hostVirt(), staging.hostVirt(), bytes), "first byte that differs");
          }
          assertTrue(qemu.captureState(state.hostVirt(), STATE_BYTES) > 1024);
          qemu.resume();
          sleepMillis(20);
        }
        assertTrue(changed > 100, "a guest that writes is expected, not " + changed + " pages");
        return changed;
      }
    }

    private static void apply(DirtyPages dirty, long from, long replica) {
      long at = from;
      for (int i = 0; i < dirty.runCount(); i++) {
        long length = (long) DirtyPages.pageCount(dirty.run(i)) << GuestMemory.PAGE_SHIFT;
        Memory.copy(at, replica + (DirtyPages.firstPage(dirty.run(i)) << GuestMemory.PAGE_SHIFT), length);
        at += length;
      }
    }
  }
}
