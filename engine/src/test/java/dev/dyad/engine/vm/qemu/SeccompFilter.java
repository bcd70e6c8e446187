package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.SYS_prctl;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Syscall;

/** A seccomp filter for the calling thread and the processes that it starts from then on (seccomp(2), {@code linux/filter.h}). It stays. */
final class SeccompFilter {
  private static final int PR_SET_SECCOMP = 22;
  private static final int PR_SET_NO_NEW_PRIVS = 38;
  private static final int SECCOMP_MODE_FILTER = 2;
  private static final int SECCOMP_RET_ALLOW = 0x7fff0000;
  private static final int SECCOMP_RET_ERRNO = 0x00050000;
  private static final int LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
  private static final int JUMP_IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
  private static final int RETURN = 0x06; // BPF_RET | BPF_K

  private SeccompFilter() {}

  /** System call {@code number} fails with {@code errno}; all others are as before. */
  static void refuse(int number, int errno) {
    try (Mapping memory = Mapping.anonymous(4096)) {
      long program = memory.hostVirt();
      long filter = program + 64;
      statement(filter, LOAD_WORD, 0, 0, 0); // of struct seccomp_data: the number
      statement(filter + 8, JUMP_IF_EQUAL, 0, 1, number);
      statement(filter + 16, RETURN, 0, 0, SECCOMP_RET_ERRNO | errno);
      statement(filter + 24, RETURN, 0, 0, SECCOMP_RET_ALLOW);
      Memory.putInt(program, 4); // struct sock_fprog: statements, and where they are
      Memory.putLong(program + 8, filter);
      NativeException.check(Syscall.call(SYS_prctl(), PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "PR_SET_NO_NEW_PRIVS");
      NativeException.check(Syscall.call(SYS_prctl(), PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0), "prctl", "PR_SET_SECCOMP");
    }
  }

  /** struct sock_filter, little-endian. */
  private static void statement(long at, int code, int ifTrue, int ifFalse, int k) {
    Memory.putInt(at, code | ifTrue << 16 | ifFalse << 24);
    Memory.putInt(at + 4, k);
  }
}
