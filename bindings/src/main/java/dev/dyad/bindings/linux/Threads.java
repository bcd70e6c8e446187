package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.sched_param;
import java.nio.charset.StandardCharsets;

/**
 * The kernel's side of threads: identity, signals to one thread, cores, scheduling. sched(7). Only for platform threads:
 * a virtual thread would set its carrier's. Calls return 0 or {@code -errno} unless they say more.
 */
public final class Threads {

  /** Cores that an affinity mask here can name. */
  public static final int MAX_CPUS = 4096;

  private static final int MASK_BYTES = MAX_CPUS / Byte.SIZE;
  private static final int NAME_BYTES = 16;

  private Threads() {}

  /** gettid(2) of the calling thread. */
  public static int id() {
    return (int) Syscall.call(SYS_gettid());
  }

  /** getpid(2). */
  public static int processId() {
    return (int) Syscall.call(SYS_getpid());
  }

  /** tgkill(2): a signal to one thread of this process. */
  public static int signal(int tid, int signal) {
    return signal(processId(), tid, signal);
  }

  /** tgkill(2): a signal to one thread of any process. */
  public static int signal(int pid, int tid, int signal) {
    return (int) Syscall.call(SYS_tgkill(), pid, tid, signal);
  }

  /** sched_setaffinity(2); {@code tid} 0 is the caller. EINVAL: none of the cores exists or is allowed. */
  public static int setAffinity(int tid, int... cpus) {
    long mask = ThreadScratch.address();
    Memory.zero(mask, MASK_BYTES);
    for (int cpu : cpus) {
      if (cpu < 0 || cpu >= MAX_CPUS) {
        return -EINVAL();
      }
      long at = mask + (cpu >> 3);
      Memory.putByte(at, (byte) (Memory.getByte(at) | 1 << (cpu & 7)));
    }
    return (int) Syscall.call(SYS_sched_setaffinity(), tid, MASK_BYTES, mask);
  }

  /** sched_getaffinity(2): the cores that a thread may run on. Allocates. */
  public static int[] affinity(int tid) {
    long mask = ThreadScratch.address();
    Memory.zero(mask, MASK_BYTES);
    NativeException.check(Syscall.call(SYS_sched_getaffinity(), tid, MASK_BYTES, mask), "sched_getaffinity", "tid=" + tid);
    int count = 0;
    for (int i = 0; i < MASK_BYTES; i += Long.BYTES) {
      count += Long.bitCount(Memory.getLong(mask + i));
    }
    int[] cpus = new int[count];
    int next = 0;
    for (int cpu = 0; next < count; cpu++) {
      if ((Memory.getByte(mask + (cpu >> 3)) >> (cpu & 7) & 1) != 0) {
        cpus[next++] = cpu;
      }
    }
    return cpus;
  }

  /** sched_setscheduler(2): {@code SCHED_*} with its static priority (0 but for FIFO and RR). */
  public static int setScheduler(int tid, int policy, int priority) {
    long at = ThreadScratch.address();
    Memory.putInt(at + sched_param.sched_priority$offset(), priority);
    return (int) Syscall.call(SYS_sched_setscheduler(), tid, policy, at);
  }

  /** setpriority(2) of one thread: -20 (first) to 19 (last). */
  public static int setNice(int tid, int nice) {
    return (int) Syscall.call(SYS_setpriority(), PRIO_PROCESS(), tid, nice);
  }

  /** prctl(2) PR_SET_NAME of the calling thread; what is over 15 bytes is cut. */
  public static int setName(String name) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    long at = ThreadScratch.address();
    Memory.zero(at, NAME_BYTES);
    Memory.copyFrom(bytes, 0, at, Math.min(bytes.length, NAME_BYTES - 1));
    return (int) Syscall.call(SYS_prctl(), PR_SET_NAME(), at, 0, 0, 0);
  }

  /** prctl(2) PR_SET_TIMERSLACK of the calling thread: how late its sleeps may end. */
  public static int setTimerSlack(long ns) {
    return (int) Syscall.call(SYS_prctl(), PR_SET_TIMERSLACK(), ns, 0, 0, 0);
  }
}
