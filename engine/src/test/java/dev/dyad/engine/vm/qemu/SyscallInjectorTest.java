package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.SYS_getpid;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_gettid;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_userfaultfd;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.linux.user_regs_struct;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Ptrace;
import dev.dyad.bindings.linux.Registers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class SyscallInjectorTest {
  @SuppressWarnings("NullAway.Init")
  private IdleQemu qemu;

  @BeforeEach
  void startQemu() {
    qemu = IdleQemu.start(List.of());
    assertUnharmed(); // a QEMU that has answered has opened all descriptors that it keeps
  }

  @AfterEach
  void endQemu() {
    if (qemu != null) {
      qemu.close();
    }
  }

  @Test
  void shouldExecuteCallsInTheOtherProcess() {
    List<Long> results = new SyscallInjector(qemu.pid()).run(calls ->
        List.of(calls.call(SYS_getpid()), calls.call(SYS_gettid()), (long) calls.thread(), calls.call(100_000)));
    assertEquals((long) qemu.pid(), results.get(0));
    assertEquals(results.get(1), results.get(2));
    assertEquals(-38L, results.get(3), "ENOSYS");
    assertUnharmed();
  }

  @Test
  void shouldBringBackEveryRegisterOfTheThread() throws Exception {
    int thread = new SyscallInjector(qemu.pid()).run(SyscallInjector.Calls::thread);
    List<Long> before = settledStateOf(thread);
    for (int i = 0; i < 5; i++) {
      new SyscallInjector(qemu.pid()).run(thread, calls -> calls.call(SYS_gettid()));
    }
    Thread.sleep(50);
    assertEquals(before, stateOf(thread));
    assertUnharmed();
  }

  @Test
  void shouldLeaveTheProcessUnharmedWhenTheInjectorDiesAtAnyStep() throws Exception {
    List<String> steps = new ArrayList<>();
    int thread = new SyscallInjector(qemu.pid()).run(SyscallInjector.Calls::thread);
    int code = DyingProcess.DIED_AT_STEP;
    for (int step = 0; code == DyingProcess.DIED_AT_STEP; step++) {
      List<Long> before = settledStateOf(thread);
      List<String> descriptors = descriptors();
      Process injector = DyingProcess.start("inject", Integer.toString(qemu.pid()), Integer.toString(step));
      String name = injector.inputReader().readLine();
      code = injector.waitFor();
      Thread.sleep(50);
      assertTrue(qemu.process().isAlive(), "died before step " + step + " (" + name + ")");
      assertEquals(before, stateOf(thread), "before step " + step + " (" + name + ")");
      assertEquals(descriptors, descriptors(), "before step " + step + " (" + name + ")");
      assertUnharmed();
      if (name != null) {
        steps.add(name);
      }
    }
    assertEquals(0, code);
    assertEquals(List.of("seize", "interrupt", "write frame", "set registers", "block signals", "enter", "wait", "return", "wait",
        "take", "enter close", "wait", "return from close", "wait", "set registers", "enter", "wait", "return", "wait", "detach"), steps);
  }

  @Test
  void shouldSayThatThereIsNoSuchProcess() {
    int pid = qemu.pid();
    qemu.close();
    qemu.process().onExit().join();
    QemuException refusal = assertThrows(QemuException.class, () -> new SyscallInjector(pid).run(SyscallInjector.Calls::thread));
    assertEquals("there is no process " + pid, refusal.getMessage());
  }

  @Test
  void shouldCloseADescriptorThatItsTakerCannotTake() throws Exception {
    List<String> before = descriptors();
    List<Integer> shown = new ArrayList<>();
    assertThrows(IllegalStateException.class, () -> new SyscallInjector(qemu.pid()).run(calls -> calls.callForDescriptor(descriptor -> {
      shown.add(descriptor);
      throw new IllegalStateException("refused");
    }, SYS_userfaultfd(), 1)));
    assertEquals(1, shown.size());
    assertUnharmed();
    assertEquals(before, descriptors());
  }

  /** QEMU's open descriptors with what they are of, but for those of its QMP connections, which it closes when it comes to it. */
  private List<String> descriptors() throws IOException {
    List<String> open = new ArrayList<>();
    try (Stream<Path> links = Files.list(Path.of("/proc", Integer.toString(qemu.pid()), "fd"))) {
      for (Path link : links.sorted().toList()) {
        String target = targetOf(link);
        if (!target.startsWith("socket:") && !target.isEmpty()) {
          open.add(link.getFileName() + " " + target);
        }
      }
    }
    return open;
  }

  private static String targetOf(Path link) throws IOException {
    try {
      return Files.readSymbolicLink(link).toString();
    } catch (NoSuchFileException e) {
      return "";
    }
  }

  /** Wakes the thread that was tampered with: QEMU frees memory regions in its RCU thread. */
  private void assertUnharmed() {
    try (QmpChannel qmp = QmpChannel.connect(qemu.qmp())) {
      for (int i = 0; i < 3; i++) {
        qmp.execute("object-add", "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":1048576}");
        qmp.execute("object-del", "{\"id\":\"m\"}");
      }
      assertEquals("prelaunch", qmp.execute("query-status", "").get("status").text());
    }
    assertTrue(qemu.process().isAlive());
  }

  /** The thread's state once it does nothing any more. */
  private static List<Long> settledStateOf(int tid) throws Exception {
    List<Long> last = stateOf(tid);
    for (int same = 0; same < 5; ) {
      Thread.sleep(20);
      List<Long> next = stateOf(tid);
      same = next.equals(last) ? same + 1 : 0;
      last = next;
    }
    return last;
  }

  /** Registers, signal mask and vector state of a sleeping thread. */
  private static List<Long> stateOf(int tid) throws Exception {
    return onThreadOfItsOwn(() -> {
      try (Registers registers = new Registers(); Mapping scratch = Mapping.anonymous(32768)) {
        assertEquals(0, Ptrace.seize(tid, 0));
        assertEquals(0, Ptrace.interrupt(tid));
        assertTrue(Ptrace.isStopped(Ptrace.waitStatus(tid, 0)));
        Ptrace.getRegisters(tid, registers);
        int bytes = Ptrace.getExtendedState(tid, scratch.hostVirt(), 16384);
        Ptrace.getSignalMask(tid, scratch.hostVirt() + 16384);
        Ptrace.detach(tid, 0);
        assertTrue(bytes >= 576, "extended state of " + bytes + " bytes");
        List<Long> state = new ArrayList<>();
        // rcx and r11 are the kernel's to change in any system call.
        for (long offset = 0; offset < user_regs_struct.sizeof(); offset += 8) {
          if (offset != user_regs_struct.rcx$offset() && offset != user_regs_struct.r11$offset()) {
            state.add(registers.get(offset));
          }
        }
        for (int at = 0; at < bytes; at += 8) {
          state.add(Memory.getLong(scratch.hostVirt() + at));
        }
        state.add(Memory.getLong(scratch.hostVirt() + 16384));
        return state;
      }
    });
  }

  private static <T> T onThreadOfItsOwn(Callable<T> work) throws Exception {
    FutureTask<T> task = new FutureTask<>(work);
    Thread.ofPlatform().start(task);
    return task.get();
  }
}
