package dev.dyad.engine.vm.qemu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.guest.LinuxGuest;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ReceivingQemuTest {
  private static final int STATE_BYTES = 4 << 20;
  private static final Pattern TICK = Pattern.compile(LinuxGuest.TICK);

  @ParameterizedTest
  @CsvSource({"LEAN_Q35,false", "LEAN_Q35,true", "DEFAULT_Q35,false", "MICROVM,false"})
  void shouldGoOnExactlyWhereTheKilledPrimaryStood(GuestMachine.Kind kind, boolean shared) {
    Path firstDirectory = TestGuest.directory();
    Path secondDirectory = TestGuest.directory();
    Path thirdDirectory = TestGuest.directory();
    long bootNanos = System.nanoTime();
    GuestMachine guest = TestGuest.boot(firstDirectory, options -> (shared ? options.sharedMemory() : options).kind(kind));
    QemuAttach primary = QemuAttach.attach(guest.qmp());
    assertEquals(shared ? 1 : 0, primary.sharedBlocks());
    try (ReceivingQemu second = ReceivingQemu.start(primary.description(), ReceivingQemu.Options.in(secondDirectory))) {
      replicate(primary, second, guest::kill);
      assertGoesOn(GuestMachine.consoleLines(guest.console()), secondDirectory.resolve("console.log"), bootNanos);
      primary.close();

      QemuAttach promoted = QemuAttach.attach(second.qmp());
      try (ReceivingQemu third = ReceivingQemu.start(promoted.description(), ReceivingQemu.Options.in(thirdDirectory))) {
        replicate(promoted, third, second::close);
        assertGoesOn(GuestMachine.consoleLines(secondDirectory.resolve("console.log")), thirdDirectory.resolve("console.log"), bootNanos);
      } finally {
        promoted.close();
      }
    } finally {
      primary.close();
      guest.close();
    }
  }

  /** From firmware on: a QEMU that waits for a guest does not load its firmware. */
  @Test
  void shouldBootAgainAfterATakeOver() {
    Path directory = TestGuest.directory();
    GuestMachine guest = TestGuest.boot(TestGuest.directory(), options -> options);
    try (QemuAttach primary = QemuAttach.attach(guest.qmp());
        ReceivingQemu standby = ReceivingQemu.start(primary.description(), ReceivingQemu.Options.in(directory))) {
      replicate(primary, standby, guest::kill);
      awaitLines(directory.resolve("console.log"), 5);
      standby.control().execute("set-action", "{\"reboot\":\"reset\"}"); // the guest's QEMU has -no-reboot
      standby.control().execute("system_reset", "");
      long end = System.nanoTime() + TestGuest.BOOT_BOUND.toNanos();
      while (GuestMachine.consoleLines(directory.resolve("console.log")).stream().noneMatch(LinuxGuest.READY::equals)) {
        assertTrue(System.nanoTime() < end, "the guest does not boot: " + GuestMachine.consoleLines(directory.resolve("console.log")));
        LockSupport.parkNanos(20_000_000);
      }
    } finally {
      guest.close();
    }
  }

  /** vCPUs of QEMU's own and of the kernel's; what the kernel's write is found as well, on whatever KVM there is. */
  @ParameterizedTest
  @ValueSource(strings = {"tcg", "kvm"})
  void shouldGoOnUnderEitherAccelerator(String accelerator) throws Exception {
    Path kvm = Path.of("/dev/kvm");
    Assumptions.assumeTrue(accelerator.equals("tcg") || (Files.isReadable(kvm) && Files.isWritable(kvm)), "no KVM for this user: " + kvm + " must be readable and writable");
    Path directory = TestGuest.directory();
    Path console = TestGuest.directory().resolve("console.log");
    String rom = TickingFirmware.write(directory).toString();
    try (IdleQemu source = IdleQemu.start(List.of(), "-accel", accelerator, "-bios", rom, "-serial", "file:" + console);
        QemuAttach primary = QemuAttach.attach(source.qmp());
        ReceivingQemu standby = ReceivingQemu.start(primary.description(), ReceivingQemu.Options.in(directory))) {
      primary.qmp().execute("cont", "");
      awaitLines(console, 100);
      replicate(primary, standby, source::close);

      long last = numbers(console).getLast();
      List<String> lines = awaitLines(directory.resolve("serial0.log"), 1000);
      List<Long> after = numbers(directory.resolve("serial0.log"));
      assertTrue(lines.stream().noneMatch(line -> line.contains("!")), "memory and registers are not of one instant");
      assertTrue(after.getFirst() <= last + 2, "went on at " + after.getFirst() + " after " + last);
      for (int i = 1; i < after.size(); i++) {
        assertEquals(after.get(i - 1) + 1, after.get(i));
      }
    }
  }

  /** What {@link TickingFirmware} printed, but for the first line, which may have begun at the other host. */
  private static List<Long> numbers(Path console) {
    List<String> lines = GuestMachine.consoleLines(console);
    return lines.subList(1, lines.size()).stream().map(line -> Long.parseLong(line, 16)).toList();
  }

  /** A file of huge pages with a name that does not say so: the standby's memory has such pages too, under no name. */
  @Test
  void shouldGoOnFromAFileOfHugePagesOnHugePages() throws Exception {
    Assumptions.assumeTrue(System.getProperty("user.name").equals("root"), "only root can mount a hugetlbfs");
    try (HugePages pages = HugePages.reserve(170); HugePageMount mount = HugePageMount.make()) {
      Path directory = TestGuest.directory();
      long bootNanos = System.nanoTime();
      GuestMachine guest = TestGuest.boot(TestGuest.directory(), options -> options.sharedMemory("memory-backend-file,id=ram,share=on,size=160M,mem-path=" + mount.folder()));
      try (QemuAttach primary = QemuAttach.attach(guest.qmp())) {
        MachineDescription crossed = MachineDescription.fromJson(primary.description().toJson());
        assertEquals(List.of(2L << 20), List.copyOf(crossed.hugePages().values()));
        assertTrue(pages.inUse() > 0);
        try (ReceivingQemu standby = ReceivingQemu.start(crossed, ReceivingQemu.Options.in(directory))) {
          replicate(primary, standby, guest::kill);
          assertGoesOn(GuestMachine.consoleLines(guest.console()), directory.resolve("console.log"), bootNanos);
          try (QemuAttach promoted = QemuAttach.attach(standby.qmp())) {
            assertEquals(crossed.hugePages(), promoted.description().hugePages());
          }
        }
      } finally {
        guest.close();
      }
    }
  }

  @Test
  void shouldEndWithTheProcessThatKeepsItWarm() throws Exception {
    Path directory = TestGuest.directory();
    try (IdleQemu source = IdleQemu.start(List.of()); QemuAttach primary = QemuAttach.attach(source.qmp())) {
      Files.writeString(directory.resolve("machine.json"), primary.description().toJson());
      Process keeper = DyingProcess.start("keep", directory.toString());
      int qemu = Integer.parseInt(keeper.inputReader().readLine());
      assertTrue(new QemuProcess(qemu).exists());
      keeper.destroyForcibly().waitFor();
      long end = System.nanoTime() + 10_000_000_000L;
      while (new QemuProcess(qemu).exists()) {
        assertTrue(System.nanoTime() < end, "QEMU " + qemu + " outlives the standby");
        Thread.sleep(10);
      }
    }
  }

  @Test
  void shouldLeaveNoQemuBehindHoweverEarlyTheStandbyDies() throws Exception {
    Path directory = TestGuest.directory();
    try (IdleQemu source = IdleQemu.start(List.of()); QemuAttach primary = QemuAttach.attach(source.qmp())) {
      Files.writeString(directory.resolve("machine.json"), primary.description().toJson());
    }
    for (int millis = 0; millis <= 120; millis += 30) {
      Process keeper = DyingProcess.start("keep", directory.toString());
      long end = System.nanoTime() + 30_000_000_000L;
      ProcessHandle qemu = null;
      while (qemu == null) {
        assertTrue(System.nanoTime() < end, "no QEMU was started");
        qemu = keeper.children().findFirst().orElse(null);
      }
      Thread.sleep(millis);
      keeper.destroyForcibly().waitFor();
      while (qemu.isAlive()) {
        assertTrue(System.nanoTime() < end, "QEMU " + qemu.pid() + " outlives a standby that died " + millis + " ms after it had started it");
        Thread.sleep(10);
      }
    }
  }

  @Test
  void shouldSayWhichFileTheStandbyLacks() {
    MachineDescription machine = machine(List.of("qemu-system-x86_64", "-M", "q35", "-kernel", "/nonexistent/vmlinuz"));
    assertRefused(machine, "the standby lacks /nonexistent/vmlinuz (-kernel");
  }

  @ParameterizedTest
  @ValueSource(strings = {
      "-drive file=/nonexistent/x,format=raw", "-blockdev driver=file,node-name=f,filename=/nonexistent/x", "-blockdev driver=raw,node-name=d,file.driver=file,file.filename=/nonexistent/x",
      "-blockdev {\"driver\":\"file\",\"filename\":\"/nonexistent/x\"}", "-blockdev {\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/nonexistent/x\"}}",
      "-device virtio-net-pci,romfile=/nonexistent/x", "-device {\"driver\":\"e1000\",\"romfile\":\"/nonexistent/x\"}", "-bios /nonexistent/x"})
  void shouldLookForEachFileBeforehand(String option) {
    List<String> words = List.of(option.split(" ", 2));
    assertRefused(machine(List.of("qemu-system-x86_64", words.get(0), words.get(1))), "the standby lacks /nonexistent/x (" + words.get(0) + " of");
  }

  /** The name of another node, and firmware that QEMU finds among its own. */
  @ParameterizedTest
  @ValueSource(strings = {"-blockdev driver=raw,node-name=d,file=f", "-blockdev {\"driver\":\"raw\",\"file\":\"f\"}", "-device virtio-net-pci,romfile=efi-virtio.rom", "-bios bios-256k.bin", "-device e1000,romfile="})
  void shouldTakeNoOtherNameForAFile(String option) {
    List<String> words = List.of(option.split(" ", 2));
    List<String> line = ReceivingCommandLine.of(machine(List.of("qemu-system-x86_64", words.get(0), words.get(1))), ReceivingQemu.Options.in(Path.of("/own")));
    assertEquals(words, line.subList(1, 3));
  }

  /** Each is to be served here, whatever QEMU calls it. */
  @ParameterizedTest
  @CsvSource(delimiter = '|', value = {
      "virtio0|-drive file=/nonexistent/x,if=virtio,format=raw,cache=none|if=virtio",
      "d0|-drive file=/nonexistent/x,if=none,id=d0,node-name=n0,snapshot=on|if=none,id=d0",
      "virtio1|-drive if=virtio,id=first,file=/dev/null -drive if=virtio,file=/nonexistent/x|if=virtio",
      "virtio0|-drive if=virtio,index=1,file=/dev/null -drive file=/nonexistent/x,if=virtio,bps=9|if=virtio,bps=9",
      "virtio3|-drive if=virtio,file=/dev/null -drive if=virtio,index=3,format=qcow2,file=/nonexistent/x|if=virtio,index=3"})
  void shouldKeepOfADriveWhatTheGuestSees(String disk, String words, String kept) {
    List<String> given = new ArrayList<>(List.of("qemu-system-x86_64"));
    given.addAll(List.of(words.split(" ")));
    ReceivingQemu.Options options = new ReceivingQemu.Options(Path.of("/own"), Map.of(), Map.of(disk, Path.of("/own/s")), List.of(), List.of());
    List<String> line = ReceivingCommandLine.of(machine(given), options);
    assertEquals(kept + ",format=raw,node-name=dyad-" + disk + ",snapshot=off,discard=unmap,file.driver=nbd,file.node-name=dyad-" + disk
        + "-nbd,file.discard=unmap,file.reconnect-delay=86400,file.server.type=unix,file.server.path=/own/s", line.get(given.size() - 1));
  }

  @Test
  void shouldAskForTheNetworkThatOnlyTheStandbyKnows() {
    MachineDescription machine = machine(List.of("qemu-system-x86_64", "-M", "q35", "-netdev", "tap,id=n0,ifname=tap0"));
    assertRefused(machine, "--netdev n0=tap");
  }

  @Test
  void shouldRefuseAnotherVersionOfQemu() {
    TestGuest.requireQemu();
    MachineDescription machine = machine(List.of("qemu-system-x86_64", "-M", "q35", "-nodefaults", "-m", "32"));
    assertRefused(machine, "the standby's QEMU is ");
  }

  @Test
  void shouldRefuseAnotherMachineType() {
    try (IdleQemu source = IdleQemu.start(List.of());
        QemuAttach primary = QemuAttach.attach(source.qmp())) {
      MachineDescription own = primary.description();
      assertRefused(new MachineDescription(own.version(), "pc-q35-2.4-machine", own.workingDirectory(), own.commandLine(), own.memory(), own.hugePages()), "the standby's machine type is ");
    }
  }

  @Test
  void shouldAppendWhatTheOperatorAdds() {
    ReceivingQemu.Options options = new ReceivingQemu.Options(Path.of("/own"), Map.of(), Map.of(), List.of("-cpu", "max"), List.of());
    List<String> line = ReceivingCommandLine.of(machine(List.of("/usr/bin/qemu-system-x86_64", "-M", "q35")), options);
    assertEquals(List.of("-cpu", "max"), line.subList(line.size() - 2, line.size()));
  }

  @Test
  void shouldPassOnWhyQemuDidNotStart() {
    TestGuest.requireQemu();
    MachineDescription machine = machine(List.of("qemu-system-x86_64", "-M", "nosuchmachine"));
    assertRefused(machine, "unsupported machine type");
  }

  @Test
  void shouldTakeNothingThatBelongsToThePrimaryAlone() {
    Path own = Path.of("/own");
    List<String> line = ReceivingCommandLine.of(machine(List.of("/usr/bin/qemu-system-x86_64", "-daemonize", "-M", "q35", "-pidfile", "/run/a.pid", "-S",
        "-chardev", "file,id=c,path=/var/log/a,,b.log,append=on", "-serial", "chardev:c", "-serial", "mon:stdio", "-chardev", "socket,id=s,host=::1,port=4,server=on",
        "-chardev", "socket,id=a,path=/run/agent,server=on,wait=off", "-qmp", "unix:/run/q,server", "-vnc", ":1", "--append", "-x console=ttyS0",
        "-netdev", "user,id=u,hostfwd=tcp::1-:2,net=10.1.0.0/24", "-netdev", "tap,id=t,ifname=tap0",
        "-object", "memory-backend-file,id=m,size=1G,mem-path=/dev/shm/vm,share=on", "-incoming", "defer")),
        ReceivingQemu.Options.in(own).withNetdev("t", "tap,ifname=tap9"));
    assertEquals(List.of("/usr/bin/qemu-system-x86_64", "-M", "q35", "-chardev", "file,id=c,append=on,path=/own/a,,b.log", "-serial", "chardev:c", "-serial",
        "file:/own/serial1.log", "-chardev", "null,id=s", "-chardev", "socket,id=a,server=on,wait=off,path=/own/agent", "-append", "-x console=ttyS0",
        "-netdev", "user,id=u,net=10.1.0.0/24", "-netdev", "tap,ifname=tap9,id=t", "-object", "memory-backend-memfd,id=m,size=1G,share=on",
        "-display", "none", "-monitor", "none", "-machine", "suppress-vmdesc=on", "-global", "migration.send-configuration=off", "-S", "-incoming", "defer",
        "-qmp", "unix:/own/control,server=on,wait=off", "-qmp", "unix:/own/qmp,server=on,wait=off"), line);
  }

  /** On one host it would be the running guest's memory. QEMU's own start writes into it, so it must not come to that. */
  @Test
  void shouldNotOpenAMemoryFileOfThePrimary() {
    String json = "{\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":1073741824,\"mem-path\":\"/dev/shm/vm\",\"share\":true}";
    List<String> line = ReceivingCommandLine.of(machine(List.of("/usr/bin/qemu-system-x86_64", "-object", json)), ReceivingQemu.Options.in(Path.of("/own")));
    assertEquals("memory-backend-memfd,id=m,size=1073741824,share=on", line.get(2));

    for (String object : List.of(json, "memory-backend-file,id=m,size=1G,mem-path=/dev/shm/vm,share=on")) {
      ReceivingQemu.Options theirs = new ReceivingQemu.Options(Path.of("/own"), Map.of(), Map.of(), List.of(), List.of("/nonexistent/qemu", "-object", object));
      QemuException refusal = assertThrows(QemuException.class, () -> ReceivingQemu.start(machine(List.of("qemu")), theirs));
      assertTrue(String.valueOf(refusal.getMessage()).contains("the file /dev/shm/vm for its memory"), refusal.getMessage());
    }
    ReceivingCommandLine.refuseNamedMemory(List.of("-object", "memory-backend-file,id=m,size=1G,mem-path=/dev,share=on"), Path.of("/"));
  }

  private static void assertRefused(MachineDescription machine, String message) {
    QemuException refusal = assertThrows(QemuException.class, () -> ReceivingQemu.start(machine, ReceivingQemu.Options.in(TestGuest.directory())));
    String text = String.valueOf(refusal.getMessage());
    assertTrue(text.contains(message) && !text.contains("\n"), text);
  }

  private static MachineDescription machine(List<String> commandLine) {
    return new MachineDescription("0.0.0", "pc-q35-7.2-machine", Path.of("/"), commandLine, GuestMemory.builder().block("pc.ram", 32 << 20).build(1 << 20), Map.of());
  }

  /** Baseline and a few epochs into the standby, then the primary's end, and promotion from the last epoch. */
  private static void replicate(QemuAttach primary, ReceivingQemu standby, Runnable primaryDies) {
    try (Mapping staging = Mapping.anonymous(primary.memory().ramPages() << GuestMemory.PAGE_SHIFT); Mapping state = Mapping.anonymous(STATE_BYTES)) {
      primary.startTracking();
      DirtyPages pages = new DirtyPages(1 << 16);
      pages.add(0, primary.memory().ramPages());
      primary.copyPages(pages, staging.hostVirt());
      apply(pages, staging.hostVirt(), standby);
      int bytes = 0;
      for (int epoch = 0; epoch < 20; epoch++) {
        pages.clear();
        primary.pause();
        assertTrue(primary.harvest(pages));
        primary.copyPages(pages, staging.hostVirt());
        bytes = primary.captureState(state.hostVirt(), STATE_BYTES);
        primary.resume();
        apply(pages, staging.hostVirt(), standby);
      }
      primaryDies.run();
      standby.promote(state.hostVirt(), bytes);
    }
  }

  private static void apply(DirtyPages pages, long from, ReceivingQemu standby) {
    long at = from;
    for (int i = 0; i < pages.runCount(); i++) {
      for (int k = 0; k < DirtyPages.pageCount(pages.run(i)); k++) {
        long page = DirtyPages.firstPage(pages.run(i)) + k;
        int block = 0;
        while (page >= standby.memory().blocks().get(block).endPage()) {
          block++;
        }
        long offset = (page - standby.memory().blocks().get(block).firstPage()) << GuestMemory.PAGE_SHIFT;
        Memory.copy(at, standby.hostVirt(block) + offset, GuestMemory.PAGE_BYTES);
        at += GuestMemory.PAGE_BYTES;
      }
    }
  }

  /** The counter continues (the last epoch may lie a few lines before the end), uptime has no jump, the kernel says nothing. */
  private static void assertGoesOn(List<String> before, Path after, long bootNanos) {
    long lastTick = 0;
    double lastUptime = 0;
    for (String line : before) {
      Matcher matcher = TICK.matcher(line);
      if (matcher.matches()) {
        lastTick = Long.parseLong(matcher.group(1));
        lastUptime = Double.parseDouble(matcher.group(2));
      }
    }
    List<String> lines = awaitLines(after, 20);
    // The guest may have stood still for want of a processor, on either side; its clock has no more than the host's to catch up with.
    double behind = (System.nanoTime() - bootNanos) / 1e9 - lastUptime;
    long expected = -1;
    double uptime = 0;
    // The first line may have been half printed at the last epoch.
    for (String line : lines.subList(1, lines.size())) {
      Matcher matcher = TICK.matcher(line);
      assertTrue(matcher.matches(), "unexpected on the console: " + line);
      long tick = Long.parseLong(matcher.group(1));
      double now = Double.parseDouble(matcher.group(2));
      if (expected < 0) {
        assertTrue(tick <= lastTick + 3 && tick >= lastTick - 60, "tick " + tick + " after " + lastTick);
        assertTrue(now < lastUptime + Math.max(3, behind), "uptime " + now + " after " + lastUptime);
      } else {
        assertEquals(expected, tick);
        assertTrue(now > uptime && now < uptime + Math.max(5, behind), "uptime " + now + " after " + uptime);
      }
      expected = tick + 1;
      uptime = now;
    }
    assertFalse(lines.isEmpty());
  }

  private static List<String> awaitLines(Path log, int count) {
    long end = System.nanoTime() + 60_000_000_000L;
    while (GuestMachine.consoleLines(log).size() < count) {
      assertTrue(System.nanoTime() < end, "the promoted guest printed only " + GuestMachine.consoleLines(log));
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
    }
    return GuestMachine.consoleLines(log);
  }
}
