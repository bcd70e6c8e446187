package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.EIO;
import static dev.dyad.bindings.abi.linux.linux_h.EPERM;
import static dev.dyad.bindings.abi.linux.linux_h.PTRACE_EVENT_STOP;
import static dev.dyad.bindings.abi.linux.linux_h.PTRACE_O_TRACESYSGOOD;
import static dev.dyad.bindings.abi.linux.linux_h.SIGTRAP;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_close;

import dev.dyad.bindings.abi.linux.user_regs_struct;
import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Ptrace;
import dev.dyad.bindings.linux.Registers;
import dev.dyad.bindings.linux.RemoteMemory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Makes a running process execute system calls of ours, and leaves it as it was: x86-64.
 *
 * <p>A thread that sleeps in a system call is stopped for the while. What it would go on from (registers, vector state, signal
 * mask) is written as a signal frame below its stack's red zone; then one PTRACE_SETREGS points it at a {@code syscall; ret} of its
 * own code with the frame on top of the stack, whose return address is libc's {@code rt_sigreturn} stub. From that moment on
 * the thread finds its own way back, so that nothing depends on us: if we are killed at any step, the kernel detaches the thread,
 * it executes at most the one pending call, returns through the frame, and goes to sleep in its system call again.
 *
 * <pre>
 *   before:  thread sleeps in ppoll or futex            stack: [ frames ... ]
 *   SETREGS: rip -> syscall;ret   rsp -> frame          stack: [ frames ... | red zone | xstate | sigframe ]
 *   two stops: at the entry and the return of the call; rax read; again for the next call
 *   detach:  ret -> rt_sigreturn -> everything restored, ppoll or futex entered again
 * </pre>
 *
 * <p>For a call that makes a descriptor there are four more words on top of the frame, which lead from its return through
 * {@code xchg eax, edi; ret} and {@code pop rax; ret} into close(2), and from there to the frame: the thread cannot return with
 * the descriptor open.
 *
 * <p>Never: a thread that is stopped in the middle of its own code (it may hold a restartable sequence), a call whose restart is
 * kept inside the kernel (RESTART_RESTARTBLOCK: the frame could not restore it), a process with shadow stacks, the first thread of
 * a child of ours.
 *
 * <p>The stops are those at system calls, marked by PTRACE_O_TRACESYSGOOD: when the tracer dies, the kernel passes a stop's number on
 * as a signal, and a marked one is no valid signal. A single step would leave a SIGTRAP behind that ends the process.
 *
 * <p>ptrace(2) takes all requests from the thread that attached, so each run has a platform thread of its own.
 */
final class SyscallInjector {

  /** Calls in the stopped process; the answer is the kernel's, {@code -errno} for errors. */
  interface Calls {
    long call(long number, long... arguments);

    /**
     * A call that makes a file descriptor, which the thread closes again without our help: it is shown to {@code take} while it is open,
     * and closed also if we die meanwhile.
     *
     * @return what the call answered; if negative, nothing was shown
     */
    long callForDescriptor(IntConsumer take, long number, long... arguments);

    /** Address, there, of a short text for calls that want a name. */
    long nameVirt();

    /** The thread that executes them. */
    int thread();
  }

  // Kernel-internal results that say how an interrupted call is restarted (include/linux/errno.h, never seen by programs).
  private static final long ERESTARTSYS = -512;
  private static final long ERESTARTNOINTR = -513;
  private static final long ERESTARTNOHAND = -514;

  private static final int ANY_THREAD = 0;
  private static final int ATTEMPTS_MAX = 200;
  private static final int PAUSE_MILLIS = 5;

  // struct rt_sigframe, struct ucontext, struct sigcontext_64 (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h).
  private static final int FRAME_BYTES = 512;
  private static final int UC_FLAGS = 8;
  private static final int UC_STACK_FLAGS = 32;
  private static final int SIGCONTEXT = 48;
  private static final int CONTEXT_CS = SIGCONTEXT + 144;
  private static final int CONTEXT_SS = SIGCONTEXT + 150;
  private static final int CONTEXT_FPSTATE = SIGCONTEXT + 184;
  private static final int UC_SIGMASK = 304;
  private static final int NAME = 448; // behind what rt_sigreturn reads
  private static final int CLOSE_BYTES = 4 * Long.BYTES; // below the frame
  private static final byte[] NAME_TEXT = {'d', 'y', 'a', 'd', 0};
  private static final long UC_FLAGS_VALUE = 0x7; // FP_XSTATE, SIGCONTEXT_SS, STRICT_RESTORE_SS
  private static final int NO_SUCH_STACK_FLAG = 0x40000000; // makes the kernel leave the alternate stack as it is

  // struct _fpx_sw_bytes inside the legacy area, and the mark behind the state.
  private static final int SOFTWARE_BYTES = 464;
  private static final int XSAVE_HEADER = 512;
  private static final int MAGIC1 = 0x46505853;
  private static final int MAGIC2 = 0x46505845;
  private static final long TILE_DATA = 1L << 18;
  private static final int TILE_DATA_BYTES = 8192;
  private static final int XSTATE_BYTES_MAX = 16384;

  private static final int RED_ZONE_BYTES = 128;
  private static final int SYS_FUTEX = 202;
  private static final int SYS_PPOLL = 271;

  private static final byte[] SYSCALL_RET = {0x0f, 0x05, (byte) 0xc3};
  private static final byte[] SIGRETURN_GLIBC = {0x48, (byte) 0xc7, (byte) 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
  private static final byte[] RESULT_TO_ARGUMENT = {(byte) 0x97, (byte) 0xc3}; // xchg eax, edi; ret
  private static final byte[] POP_NUMBER = {0x58, (byte) 0xc3}; // pop rax; ret
  private static final byte[] SIGRETURN_OTHER = {(byte) 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05};

  // Registers of struct sigcontext_64 in its order, as offsets of user_regs_struct.
  private static final long[] CONTEXT_REGISTERS = {
    user_regs_struct.r8$offset(), user_regs_struct.r9$offset(), user_regs_struct.r10$offset(), user_regs_struct.r11$offset(),
    user_regs_struct.r12$offset(), user_regs_struct.r13$offset(), user_regs_struct.r14$offset(), user_regs_struct.r15$offset(),
    user_regs_struct.rdi$offset(), user_regs_struct.rsi$offset(), user_regs_struct.rbp$offset(), user_regs_struct.rbx$offset(),
    user_regs_struct.rdx$offset(), user_regs_struct.rax$offset(), user_regs_struct.rcx$offset(), user_regs_struct.rsp$offset(),
    user_regs_struct.rip$offset(), user_regs_struct.eflags$offset(),
  };
  private static final long[] ARGUMENTS = {
    user_regs_struct.rdi$offset(), user_regs_struct.rsi$offset(), user_regs_struct.rdx$offset(),
    user_regs_struct.r10$offset(), user_regs_struct.r8$offset(), user_regs_struct.r9$offset(),
  };

  private final QemuProcess process;
  private final Consumer<String> beforeStep;
  private long syscallGadget;
  private long sigreturnStub;
  private long resultToArgument;
  private long popNumber;

  SyscallInjector(int pid) {
    this(pid, step -> {});
  }

  /**
   * @param beforeStep told the name of each step before it is done, so that a test can end this process there
   */
  SyscallInjector(int pid, Consumer<String> beforeStep) {
    this.process = new QemuProcess(pid);
    this.beforeStep = beforeStep;
  }

  /**
   * Stops one thread of the process, lets {@code work} execute calls in it, and lets it go.
   *
   * @throws QemuException with what forbids it
   */
  <T> T run(Function<Calls, T> work) {
    return run(ANY_THREAD, work);
  }

  /** The same in one certain thread, which must be one that sleeps much. */
  <T> T run(int tid, Function<Calls, T> work) {
    Run<T> run = new Run<>(tid, work);
    Thread thread = Thread.ofPlatform().name("control-inject").start(run);
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return run.result();
  }

  private final class Run<T> implements Runnable {
    private final int wanted;
    private final Function<Calls, T> work;
    private @Nullable T result;
    private @Nullable RuntimeException failure;

    private Run(int wanted, Function<Calls, T> work) {
      this.wanted = wanted;
      this.work = work;
    }

    @Override
    public void run() {
      try (Mapping scratch = Mapping.anonymous(1 << 16); Registers saved = new Registers(); Registers now = new Registers()) {
        findCode();
        Stopped stopped = stopSleepingThread(wanted, saved);
        try {
          stopped.prepare(saved, now, scratch.hostVirt());
          result = work.apply(stopped.calls(now));
          beforeStep.accept("detach");
        } finally {
          Ptrace.detach(stopped.tid, 0);
        }
      } catch (RuntimeException e) {
        failure = e;
      }
    }

    private T result() {
      if (failure != null) {
        throw failure;
      }
      T value = result;
      if (value == null) {
        throw new IllegalStateException("the injected work gave no result");
      }
      return value;
    }
  }

  /** Finds the instructions that calls return through in the process's code; libc first. */
  private void findCode() {
    refuseShadowStacks();
    List<QemuProcess.Area> code = process.areas().stream().filter(area -> area.executable() && !area.name().startsWith("[vsyscall"))
        .sorted((a, b) -> Boolean.compare(b.name().contains("libc"), a.name().contains("libc"))).toList();
    for (QemuProcess.Area area : code) {
      if (foundCode()) {
        return;
      }
      byte[] bytes = readRemote(area);
      syscallGadget = foundFirst(syscallGadget, area, bytes, SYSCALL_RET);
      sigreturnStub = foundFirst(sigreturnStub, area, bytes, SIGRETURN_GLIBC);
      sigreturnStub = foundFirst(sigreturnStub, area, bytes, SIGRETURN_OTHER);
      resultToArgument = foundFirst(resultToArgument, area, bytes, RESULT_TO_ARGUMENT);
      popNumber = foundFirst(popNumber, area, bytes, POP_NUMBER);
    }
    if (!foundCode()) {
      throw new QemuException("process " + process.pid() + " has no libc in which a system call could be injected");
    }
  }

  private boolean foundCode() {
    return syscallGadget != 0 && sigreturnStub != 0 && resultToArgument != 0 && popNumber != 0;
  }

  private void refuseShadowStacks() {
    if (process.read("status").lines().anyMatch(line -> line.startsWith("x86_Thread_features:") && line.contains("shstk"))) {
      throw new QemuException("process " + process.pid() + " uses shadow stacks, which forbid injected calls: start QEMU with"
          + " GLIBC_TUNABLES=glibc.cpu.x86_shstk=off");
    }
  }

  private byte[] readRemote(QemuProcess.Area area) {
    byte[] bytes = new byte[(int) Math.min(area.bytes(), 64 << 20)];
    try (Mapping here = Mapping.anonymous(bytes.length)) {
      long read = RemoteMemory.read(process.pid(), area.start(), here.hostVirt(), bytes.length);
      if (read == -EPERM()) {
        throw attachRefused(EPERM());
      }
      Memory.copyTo(here.hostVirt(), bytes, 0, (int) Math.max(0, read));
    }
    return bytes;
  }

  private static long foundFirst(long before, QemuProcess.Area area, byte[] code, byte[] pattern) {
    if (before != 0) {
      return before;
    }
    for (int i = 0; i + pattern.length <= code.length; i++) {
      int matched = 0;
      while (matched < pattern.length && code[i + matched] == pattern[matched]) {
        matched++;
      }
      if (matched == pattern.length) {
        return area.start() + i;
      }
    }
    return 0;
  }

  /** Threads that sleep much first: QEMU starts its RCU thread before any other. */
  private List<Integer> candidates(int wanted) {
    if (wanted != ANY_THREAD) {
      return List.of(wanted);
    }
    List<Integer> threads = new ArrayList<>(process.threads());
    threads.removeIf(tid -> tid == process.pid());
    if (!isOurChild()) {
      threads.add(process.pid());
    }
    return threads;
  }

  private Stopped stopSleepingThread(int wanted, Registers registers) {
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      for (int tid : candidates(wanted)) {
        if (!sleepsWhereWeMayStop(tid)) {
          continue;
        }
        beforeStep.accept("seize");
        int seized = Ptrace.seize(tid, PTRACE_O_TRACESYSGOOD());
        if (seized < 0) {
          throw attachRefused(-seized);
        }
        beforeStep.accept("interrupt");
        NativeException.check(Ptrace.interrupt(tid), "PTRACE_INTERRUPT", "tid=" + tid);
        int status = Ptrace.waitStatus(tid, 0);
        if (!Ptrace.isStopped(status)) {
          throw new QemuException("process " + process.pid() + " ended while it was being attached to");
        }
        boolean ours = Ptrace.event(status) == PTRACE_EVENT_STOP() && Ptrace.stopSignal(status) == SIGTRAP();
        if (ours && Ptrace.getRegisters(tid, registers) == 0 && restartsByItself(registers)) {
          return new Stopped(tid);
        }
        // Anything else (a signal being delivered, a thread just waking up) is let go, and tried again.
        Ptrace.detach(tid, Ptrace.event(status) == 0 ? Ptrace.stopSignal(status) : 0);
      }
      pause();
    }
    throw new QemuException("no thread of process " + process.pid() + " sleeps in a system call that can be interrupted unseen; is QEMU stopped (SIGSTOP)?");
  }

  private static void pause() {
    try {
      Thread.sleep(PAUSE_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * The JDK waits for the end of each of its children in a thread of its own, and would be told of the leader's stop in our place:
   * we would wait for ever, and it would take the child for ended.
   */
  private boolean isOurChild() {
    return process.read("status").contains("\nPPid:\t" + ProcessHandle.current().pid() + "\n");
  }

  /** A guess before anything is stopped; {@link #restartsByItself} decides. */
  private boolean sleepsWhereWeMayStop(int tid) {
    Path file = process.proc().resolve("task").resolve(Integer.toString(tid)).resolve("syscall");
    try {
      String call = Files.readString(file);
      return call.startsWith(SYS_FUTEX + " ") || call.startsWith(SYS_PPOLL + " ");
    } catch (java.io.IOException e) {
      if (process.exists() && Files.exists(file.resolveSibling("comm"))) {
        throw attachRefused(EPERM());
      }
      return false;
    }
  }

  private static boolean restartsByItself(Registers registers) {
    long result = registers.get(user_regs_struct.rax$offset());
    return registers.get(user_regs_struct.orig_rax$offset()) >= 0
        && (result == ERESTARTSYS || result == ERESTARTNOINTR || result == ERESTARTNOHAND);
  }

  private QemuException attachRefused(int errno) {
    if (errno != EPERM()) {
      return new QemuException("process " + process.pid() + " cannot be attached to: ptrace " + Errno.name(errno));
    }
    if (process.read("status").lines().anyMatch(line -> line.startsWith("TracerPid:") && !line.endsWith("\t0"))) {
      return new QemuException("process " + process.pid() + " is already traced by another process (a debugger?): end that first");
    }
    String scope = "";
    try {
      scope = Files.readString(Path.of("/proc/sys/kernel/yama/ptrace_scope")).strip();
    } catch (java.io.IOException e) {
      scope = "0";
    }
    return switch (scope) {
      case "1", "2" -> new QemuException("kernel.yama.ptrace_scope=" + scope + " forbids attaching to process " + process.pid()
          + ": run dyad as root (CAP_SYS_PTRACE), or sysctl kernel.yama.ptrace_scope=0");
      case "3" -> new QemuException("kernel.yama.ptrace_scope=3 forbids all attaching until the next boot: remove it from sysctl.d and reboot");
      default -> new QemuException("not allowed to attach to process " + process.pid()
          + ": run dyad as the user that runs QEMU, or as root (CAP_SYS_PTRACE); in a container add that capability");
    };
  }

  /** One thread that we have stopped. */
  private final class Stopped {
    private final int tid;
    private boolean redirected;
    private long allSignals;
    private long frameVirt;

    private Stopped(int tid) {
      this.tid = tid;
    }

    /** Writes the way back; changes nothing that the thread would notice. */
    private void prepare(Registers saved, Registers now, long scratch) {
      long xstate = scratch + 4096;
      int bytes = (int) NativeException.check(Ptrace.getExtendedState(tid, xstate, XSTATE_BYTES_MAX), "PTRACE_GETREGSET", "tid=" + tid);
      bytes = sealExtendedState(xstate, bytes);

      long remoteXstate = (saved.get(user_regs_struct.rsp$offset()) - RED_ZONE_BYTES - bytes - Integer.BYTES) & -64;
      long remoteFrame = (remoteXstate - FRAME_BYTES) & -16;
      // The call is entered again, as the kernel does itself when nobody interferes.
      now.copyFrom(saved);
      now.set(user_regs_struct.rax$offset(), saved.get(user_regs_struct.orig_rax$offset()));
      now.set(user_regs_struct.rip$offset(), saved.get(user_regs_struct.rip$offset()) - 2);

      Memory.zero(scratch, FRAME_BYTES);
      Memory.putLong(scratch, sigreturnStub);
      Memory.putLong(scratch + UC_FLAGS, UC_FLAGS_VALUE);
      Memory.putInt(scratch + UC_STACK_FLAGS, NO_SUCH_STACK_FLAG);
      for (int i = 0; i < CONTEXT_REGISTERS.length; i++) {
        Memory.putLong(scratch + SIGCONTEXT + 8L * i, now.get(CONTEXT_REGISTERS[i]));
      }
      Memory.putShort(scratch + CONTEXT_CS, (short) saved.get(user_regs_struct.cs$offset()));
      Memory.putShort(scratch + CONTEXT_SS, (short) saved.get(user_regs_struct.ss$offset()));
      Memory.putLong(scratch + CONTEXT_FPSTATE, remoteXstate);
      NativeException.check(Ptrace.getSignalMask(tid, scratch + UC_SIGMASK), "PTRACE_GETSIGMASK", "tid=" + tid);

      Memory.copyFrom(NAME_TEXT, 0, scratch + NAME, NAME_TEXT.length);
      frameVirt = remoteFrame;
      long remoteClose = remoteFrame - CLOSE_BYTES;
      long close = scratch + FRAME_BYTES;
      Memory.putLong(close, resultToArgument);
      Memory.putLong(close + 8, popNumber);
      Memory.putLong(close + 16, SYS_close());
      Memory.putLong(close + 24, syscallGadget);

      beforeStep.accept("write frame");
      write(remoteXstate, xstate, bytes + Integer.BYTES);
      write(remoteFrame, scratch, FRAME_BYTES);
      write(remoteClose, close, CLOSE_BYTES);

      now.copyFrom(saved);
      now.set(user_regs_struct.rip$offset(), syscallGadget);
      now.set(user_regs_struct.orig_rax$offset(), -1);
      Memory.putLong(scratch, -1L);
      allSignals = scratch;
    }

    private void write(long remote, long local, long bytes) {
      long written = RemoteMemory.write(process.pid(), remote, local, bytes);
      if (written != bytes) {
        throw new NativeException("process_vm_writev", written < 0 ? (int) -written : EIO(), "pid=" + process.pid() + " bytes=" + bytes);
      }
    }

    private void runToStop(String where) {
      beforeStep.accept(where);
      NativeException.check(Ptrace.resumeToSystemCall(tid), "PTRACE_SYSCALL", "tid=" + tid);
      beforeStep.accept("wait");
      int status = Ptrace.waitStatus(tid, 0);
      if (!Ptrace.isSystemCallStop(status)) {
        throw new QemuException("process " + process.pid() + " did not execute an injected call (wait status " + status + ")");
      }
    }

    private Calls calls(Registers now) {
      return new Calls() {
        @Override
        public long call(long number, long... arguments) {
          return Stopped.this.call(now, frameVirt, number, arguments);
        }

        @Override
        public long callForDescriptor(IntConsumer take, long number, long... arguments) {
          long descriptor = Stopped.this.call(now, frameVirt - CLOSE_BYTES, number, arguments);
          if (descriptor >= 0) {
            beforeStep.accept("take");
            take.accept((int) descriptor);
            runToStop("enter close");
            runToStop("return from close");
          }
          return descriptor;
        }

        @Override
        public long nameVirt() {
          return frameVirt + NAME;
        }

        @Override
        public int thread() {
          return tid;
        }
      };
    }

    /** Leaves the thread at the call's return; from there it goes on at what {@code stackVirt} points to. */
    private long call(Registers now, long stackVirt, long number, long... arguments) {
      now.set(user_regs_struct.rsp$offset(), stackVirt);
      now.set(user_regs_struct.rax$offset(), number);
      for (int i = 0; i < ARGUMENTS.length; i++) {
        now.set(ARGUMENTS[i], i < arguments.length ? arguments[i] : 0);
      }
      beforeStep.accept("set registers");
      NativeException.check(Ptrace.setRegisters(tid, now), "PTRACE_SETREGS", "tid=" + tid);
      if (!redirected) {
        redirected = true;
        // After the registers, never before: the frame brings the old mask back even if we end here.
        beforeStep.accept("block signals");
        NativeException.check(Ptrace.setSignalMask(tid, allSignals), "PTRACE_SETSIGMASK", "tid=" + tid);
      }
      runToStop("enter");
      runToStop("return");
      try (Registers after = new Registers()) {
        NativeException.check(Ptrace.getRegisters(tid, after), "PTRACE_GETREGS", "tid=" + tid);
        return after.get(user_regs_struct.rax$offset());
      }
    }
  }

  /** Adds what rt_sigreturn checks before it believes an extended state; returns the size to use. */
  private static int sealExtendedState(long xstate, int bytes) {
    long features = Memory.getLong(xstate + SOFTWARE_BYTES);
    long inUse = bytes > XSAVE_HEADER ? Memory.getLong(xstate + XSAVE_HEADER) : 0;
    int size = bytes;
    // A thread without tile data has a smaller state than the register set shows, and a larger one is not restored.
    if ((features & TILE_DATA) != 0 && (inUse & TILE_DATA) == 0) {
      features &= ~TILE_DATA;
      size -= TILE_DATA_BYTES;
    }
    Memory.zero(xstate + SOFTWARE_BYTES, 48);
    Memory.putInt(xstate + SOFTWARE_BYTES, MAGIC1);
    Memory.putInt(xstate + SOFTWARE_BYTES + 4, size + Integer.BYTES);
    Memory.putLong(xstate + SOFTWARE_BYTES + 8, features);
    Memory.putInt(xstate + SOFTWARE_BYTES + 16, size);
    Memory.putInt(xstate + size, MAGIC2);
    return size;
  }
}
