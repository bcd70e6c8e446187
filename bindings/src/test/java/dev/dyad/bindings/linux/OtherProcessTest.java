package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.abi.linux.user_regs_struct;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class OtherProcessTest {

  // A grandchild: the JVM waits for its own children, and that wait would take a ptrace stop for the child's end.
  private static final String CAT_AS_GRANDCHILD = "exec 3<&0; cat <&3 3<&- & echo $!; exec 3<&- </dev/null; wait";

  private final Process shell;
  private final BufferedReader output;
  private final int pid;

  OtherProcessTest() throws IOException {
    shell = new ProcessBuilder("/bin/sh", "-c", CAT_AS_GRANDCHILD).start();
    output = shell.inputReader(StandardCharsets.UTF_8);
    pid = Integer.parseInt(output.readLine());
  }

  @AfterEach
  void stop() throws InterruptedException {
    shell.descendants().forEach(ProcessHandle::destroyForcibly);
    shell.destroyForcibly().waitFor(10, TimeUnit.SECONDS);
  }

  /** A word that the child has at a known place: its ELF header, at the start of its first mapping. */
  private long firstMapping() throws IOException {
    for (String line : java.nio.file.Files.readAllLines(Path.of("/proc/" + pid + "/maps"))) {
      if (line.contains("/bin/") || line.contains("/ld")) {
        return Long.parseLong(line.substring(0, line.indexOf('-')), 16);
      }
    }
    throw new AssertionError("no mapping of a file");
  }

  /** The shell has said the number before the program replaced its copy of itself. */
  private void awaitCat() throws IOException, InterruptedException {
    Path name = Path.of("/proc/" + pid + "/comm");
    for (int i = 0; i < 1000 && !java.nio.file.Files.readString(name).startsWith("cat"); i++) {
      Thread.sleep(10);
    }
    Thread.sleep(50); // into its read
  }

  @Test
  void shouldReadAndWriteRangesOfAnotherProcess() throws Exception {
    awaitCat();
    long remote = firstMapping();
    try (Mapping local = Mapping.anonymous(8192);
        RemoteMemory memory = new RemoteMemory(pid, 2)) {
      long at = local.hostVirt();
      assertEquals(8, RemoteMemory.read(pid, remote, at, 8));
      assertEquals(0x464c457f, Memory.getInt(at), "ELF");
      assertTrue(memory.add(remote, at + 100, 4));
      assertTrue(memory.add(remote + 1, at + 200, 3));
      assertFalse(memory.add(remote + 2, at + 300, 1), "full");
      assertEquals(7, memory.bytes());
      assertEquals(7, memory.read());
      assertEquals(0, memory.bytes(), "empty again");
      assertEquals(0x464c457f, Memory.getInt(at + 100));
      assertEquals("ELF", Memory.getString(at + 200, 3));
      assertTrue(memory.add(remote, at, 4));
      assertEquals(-EFAULT(), memory.write(), "its first page is read-only");
    }
  }

  @Test
  void shouldStopReadStepAndLeaveAThreadAsItWas() throws Exception {
    awaitCat();
    int seized = Ptrace.seize(pid, 0);
    assumeTrue(seized != -EPERM(), "ptrace is not permitted here");
    assertEquals(0, seized);
    try (Registers before = new Registers();
        Registers changed = new Registers()) {
      assertEquals(0, Ptrace.interrupt(pid));
      int status = Ptrace.waitStatus(pid, 0);
      assertTrue(Ptrace.isStopped(status), "status 0x" + Integer.toHexString(status));
      assertEquals(PTRACE_EVENT_STOP(), Ptrace.event(status));
      assertEquals(0, Ptrace.getRegisters(pid, before));
      long rip = before.get(user_regs_struct.rip$offset());
      try (Mapping word = Mapping.anonymous(4096)) {
        assertEquals(0, Ptrace.peek(pid, rip - 2, word.hostVirt()));
        assertEquals(0x050f, Memory.getShort(word.hostVirt()) & 0xffff, "it waits behind a syscall instruction");
        assertEquals(0, Ptrace.getSignalMask(pid, word.hostVirt()));
      }
      // One getpid through that instruction, then everything back.
      changed.copyFrom(before);
      changed.set(user_regs_struct.rip$offset(), rip - 2);
      changed.set(user_regs_struct.rax$offset(), SYS_getpid());
      changed.set(user_regs_struct.orig_rax$offset(), -1);
      assertEquals(0, Ptrace.setRegisters(pid, changed));
      assertEquals(0, Ptrace.singleStep(pid, 0));
      int stepped = Ptrace.waitStatus(pid, 0);
      assertTrue(Ptrace.isStopped(stepped) && Ptrace.stopSignal(stepped) == SIGTRAP());
      assertEquals(0, Ptrace.getRegisters(pid, changed));
      assertEquals(pid, changed.get(user_regs_struct.rax$offset()));
      assertEquals(rip, changed.get(user_regs_struct.rip$offset()));
      assertEquals(0, Ptrace.setRegisters(pid, before));
      assertEquals(0, Ptrace.getRegisters(pid, changed));
      assertTrue(changed.sameAs(before));
      assertEquals(0, Ptrace.detach(pid, 0));
    }
    try (OutputStream input = shell.getOutputStream()) {
      input.write("still here\n".getBytes(StandardCharsets.UTF_8));
    }
    assertEquals("still here", output.readLine());
    assertEquals(0, shell.waitFor());
  }

  @Test
  void shouldTakeOverADescriptorAndSeeTheExit() throws Exception {
    try (PidFd process = PidFd.open(pid)) {
      assertFalse(process.awaitExit(0));
      int taken = process.takeDescriptor(0);
      assumeTrue(taken != -EPERM(), "pidfd_getfd is not permitted here");
      assertTrue(taken >= 0);
      FileDescriptor.adopt(taken).close();
      assertEquals(-EBADF(), process.takeDescriptor(9999));
      assertEquals(0, process.sendSignal(0));
      assertEquals(0, process.sendSignal(SIGKILL()));
      assertTrue(process.awaitExit(10_000));
    }
  }
}
