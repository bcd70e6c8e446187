package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.iovec;

/**
 * ptrace(2) and wait4(2) of single threads of other processes.
 *
 * <p>The kernel takes every request for a tracee only from the very thread that seized it: use a platform thread of its own.
 * If that thread ends, its tracees are detached and run on.
 *
 * <p>Of a process that this JVM started itself, never seize the main thread (tid = pid): the JVM waits for that one to end, its
 * wait takes the stop away from ours and reports the process as ended. Any other thread of it will do. All calls return 0 or {@code -errno} unless they say more.
 */
public final class Ptrace {

  // ptrace(2): what PTRACE_O_TRACESYSGOOD adds to SIGTRAP; PTRACE_SYSCALL of <sys/ptrace.h>.
  private static final int SYSTEM_CALL_MARK = 0x80;
  private static final int PTRACE_SYSCALL = 24;

  // <sys/ptrace.h> and <linux/elf.h>; both since Linux 2.6.34.
  private static final int PTRACE_GETREGSET = 0x4204;
  private static final int NT_X86_XSTATE = 0x202;

  private Ptrace() {}

  /** PTRACE_SEIZE: attaches without stopping; {@code options} are {@code PTRACE_O_*}. */
  public static int seize(int tid, int options) {
    return request(PTRACE_SEIZE(), tid, 0, options);
  }

  /** PTRACE_INTERRUPT: the stop itself is reported by {@link #waitStatus}. */
  public static int interrupt(int tid) {
    return request(PTRACE_INTERRUPT(), tid, 0, 0);
  }

  /** PTRACE_GETREGS. */
  public static int getRegisters(int tid, Registers into) {
    return request(PTRACE_GETREGS(), tid, 0, into.hostVirt());
  }

  /** PTRACE_SETREGS. */
  public static int setRegisters(int tid, Registers from) {
    return request(PTRACE_SETREGS(), tid, 0, from.hostVirt());
  }

  /**
   * PTRACE_GETREGSET of NT_X86_XSTATE: copies the FPU and vector registers, in the standard XSAVE form, to {@code intoVirt}.
   *
   * @return bytes copied (never more than {@code bytes}), or {@code -errno}
   */
  public static int getExtendedState(int tid, long intoVirt, int bytes) {
    long vector = ThreadScratch.address();
    Memory.putLong(vector + iovec.iov_base$offset(), intoVirt);
    Memory.putLong(vector + iovec.iov_len$offset(), bytes);
    int result = request(PTRACE_GETREGSET, tid, NT_X86_XSTATE, vector);
    return result < 0 ? result : (int) Memory.getLong(vector + iovec.iov_len$offset());
  }

  /** PTRACE_SINGLESTEP, delivering {@code signal} unless 0. */
  public static int singleStep(int tid, int signal) {
    return request(PTRACE_SINGLESTEP(), tid, 0, signal);
  }

  /** PTRACE_CONT, delivering {@code signal} unless 0. */
  public static int resume(int tid, int signal) {
    return request(PTRACE_CONT(), tid, 0, signal);
  }

  /**
   * PTRACE_SYSCALL: runs to the next entry into or return from a system call. With {@code PTRACE_O_TRACESYSGOOD} the death of
   * the tracer at such a stop does no harm; at a single step it leaves a SIGTRAP that ends the tracee.
   */
  public static int resumeToSystemCall(int tid) {
    return request(PTRACE_SYSCALL, tid, 0, 0);
  }

  /** Whether a stop is one at a system call; needs {@code PTRACE_O_TRACESYSGOOD}. */
  public static boolean isSystemCallStop(int status) {
    return isStopped(status) && stopSignal(status) == (SIGTRAP() | SYSTEM_CALL_MARK);
  }

  /** PTRACE_LISTEN: leaves a group-stopped thread stopped and reports the next event. */
  public static int listen(int tid) {
    return request(PTRACE_LISTEN(), tid, 0, 0);
  }

  /** PTRACE_DETACH, delivering {@code signal} unless 0. The tracee must be stopped. */
  public static int detach(int tid, int signal) {
    return request(PTRACE_DETACH(), tid, 0, signal);
  }

  /** PTRACE_PEEKDATA: copies the word at {@code remoteVirt} to {@code intoVirt}. */
  public static int peek(int tid, long remoteVirt, long intoVirt) {
    return request(PTRACE_PEEKDATA(), tid, remoteVirt, intoVirt);
  }

  /** PTRACE_POKEDATA: writes a word even into read-only pages. */
  public static int poke(int tid, long remoteVirt, long word) {
    return request(PTRACE_POKEDATA(), tid, remoteVirt, word);
  }

  /** PTRACE_GETSIGMASK: copies the thread's blocked set, 8 bytes, to {@code intoVirt}. */
  public static int getSignalMask(int tid, long intoVirt) {
    return request(PTRACE_GETSIGMASK(), tid, DYAD_KERNEL_SIGSET_BYTES(), intoVirt);
  }

  /** PTRACE_SETSIGMASK from 8 bytes at {@code fromVirt}. */
  public static int setSignalMask(int tid, long fromVirt) {
    return request(PTRACE_SETSIGMASK(), tid, DYAD_KERNEL_SIGSET_BYTES(), fromVirt);
  }

  /**
   * wait4(2) with __WALL: waits for the thread's next change.
   *
   * @param options 0 or WNOHANG
   * @return the wait status (see {@link #isStopped} and the rest), {@code -EAGAIN} when nothing changed, or {@code -errno}
   */
  public static int waitStatus(int tid, int options) {
    long status = ThreadScratch.address();
    long result = Syscall.call(SYS_wait4(), tid, status, __WALL() | options, 0);
    if (result == 0) {
      return -EAGAIN();
    }
    return result < 0 ? (int) result : Memory.getInt(status);
  }

  public static boolean isStopped(int status) {
    return (status & 0xff) == 0x7f;
  }

  /** The signal of a stop; SIGTRAP for single steps and events. */
  public static int stopSignal(int status) {
    return (status >> 8) & 0xff;
  }

  /** {@code PTRACE_EVENT_*} of a stop, or 0. */
  public static int event(int status) {
    return status >> 16;
  }

  public static boolean hasExited(int status) {
    return (status & 0x7f) == 0;
  }

  public static int exitCode(int status) {
    return (status >> 8) & 0xff;
  }

  /** Ended by a signal, which is {@code status & 0x7f}. */
  public static boolean wasKilled(int status) {
    return !isStopped(status) && (status & 0x7f) != 0;
  }

  private static int request(int request, int tid, long address, long data) {
    return (int) Syscall.call(SYS_ptrace(), request, tid, address, data);
  }
}
