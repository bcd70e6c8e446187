package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.uring.uring_h.*;

/**
 * How a ring is set up; see io_uring_setup(2).
 *
 * @param entries bound of requests that are prepared and not yet handed over, 1 to 32768; the kernel rounds up to a power of two
 * @param completionEntries size of the completion ring, 0 for twice the entries
 * @param flags IORING_SETUP_* that the kernel must know, or the set-up fails
 * @param wantedFlags IORING_SETUP_* that are taken if the kernel knows them, and left out together if it does not
 * @param sqThreadIdleMillis how long the kernel's polling thread spins before it sleeps (SQPOLL only)
 * @param sqThreadCpu core of that thread, −1 for any (SQPOLL only)
 */
public record RingConfig(
  int entries, int completionEntries, int flags, int wantedFlags, int sqThreadIdleMillis, int sqThreadCpu) {

 public static final int SQPOLL = IORING_SETUP_SQPOLL();
 public static final int IOPOLL = IORING_SETUP_IOPOLL();
 public static final int CLAMP = IORING_SETUP_CLAMP();
 public static final int DISABLED = IORING_SETUP_R_DISABLED();

 /** Go on after a request that fails while it is handed over; without it the rest of the batch stays in the ring. */
 public static final int SUBMIT_ALL = IORING_SETUP_SUBMIT_ALL();

 /** One thread hands over (Linux 6.0). */
 public static final int SINGLE_ISSUER = IORING_SETUP_SINGLE_ISSUER();

 /** Completion work runs when that thread asks for completions and at no other time (Linux 6.1; needs SINGLE_ISSUER). */
 public static final int DEFER_TASKRUN = IORING_SETUP_DEFER_TASKRUN();

 /** No interrupt of a running thread for completion work (Linux 5.19). */
 public static final int COOP_TASKRUN = IORING_SETUP_COOP_TASKRUN();

 /** The kernel says in the ring that completion work waits (Linux 5.19). */
 public static final int TASKRUN_FLAG = IORING_SETUP_TASKRUN_FLAG();

 /** A ring for one thread with deferred completion work where the kernel has it. */
 public static RingConfig of(int entries) {
  return new RingConfig(entries, 0, SUBMIT_ALL, SINGLE_ISSUER | DEFER_TASKRUN | COOP_TASKRUN | TASKRUN_FLAG, 0, -1);
 }

 /** A ring without any flag, for one thread at a time. */
 public static RingConfig plain(int entries) {
  return new RingConfig(entries, 0, 0, 0, 0, -1);
 }

 /** A ring whose requests a kernel thread picks up, so that handing over costs no system call while that thread is awake. */
 public static RingConfig polled(int entries, int idleMillis, int cpu) {
  return new RingConfig(entries, 0, SQPOLL, 0, idleMillis, cpu);
 }

 public RingConfig withFlags(int more) {
  return new RingConfig(entries, completionEntries, flags | more, wantedFlags, sqThreadIdleMillis, sqThreadCpu);
 }

 public RingConfig withCompletionEntries(int count) {
  return new RingConfig(entries, count, flags, wantedFlags, sqThreadIdleMillis, sqThreadCpu);
 }
}
