package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.linux.linux_h.EBUSY;
import static dev.dyad.bindings.abi.linux.linux_h.EINVAL;
import static dev.dyad.bindings.abi.linux.linux_h.MAP_POPULATE;
import static dev.dyad.bindings.abi.linux.linux_h.MAP_SHARED;
import static dev.dyad.bindings.abi.linux.linux_h.PROT_READ;
import static dev.dyad.bindings.abi.linux.linux_h.PROT_WRITE;
import static dev.dyad.bindings.abi.uring.uring_h.*;

import dev.dyad.bindings.abi.uring.__kernel_timespec;
import dev.dyad.bindings.abi.uring.io_cqring_offsets;
import dev.dyad.bindings.abi.uring.io_sqring_offsets;
import dev.dyad.bindings.abi.uring.io_uring_cqe;
import dev.dyad.bindings.abi.uring.io_uring_getevents_arg;
import dev.dyad.bindings.abi.uring.io_uring_params;
import dev.dyad.bindings.abi.uring.io_uring_sqe;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Syscall;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.VarHandle;

/**
 * One io_uring: owner of its descriptor and of both mapped rings. Belongs to one thread; with SINGLE_ISSUER to the one that created
 * it, or that called {@link #enable} on a ring created DISABLED.
 *
 * <p>Requests in flight keep their buffers in use: close the ring only after their completions, or after cancelling and reaping them.
 */
public final class Ring implements AutoCloseable {
  private static final long NSIG_BYTES = 8;
  private static final long NANOS_PER_SECOND = 1_000_000_000L;

  private final Mapping waitMemory;
  private final FileDescriptor descriptor;
  private final Mapping rings;
  private final Mapping sqes;
  private final SubmissionRing submission;
  private final CompletionRing completion;
  private final int flags;
  private final int features;
  private final long waitArgument;
  private final long waitTime;

  private Ring(FileDescriptor descriptor, MemorySegment params) {
    this.descriptor = descriptor;
    flags = io_uring_params.flags(params);
    features = io_uring_params.features(params);
    if ((features & IORING_FEAT_SINGLE_MMAP()) == 0) {
      throw new NativeException("io_uring_setup", EINVAL(), "a kernel of 5.4 or later is needed: no IORING_FEAT_SINGLE_MMAP");
    }
    MemorySegment sq = io_uring_params.sq_off(params);
    MemorySegment cq = io_uring_params.cq_off(params);
    int sqEntries = io_uring_params.sq_entries(params);
    int cqEntries = io_uring_params.cq_entries(params);
    boolean hasArray = (flags & IORING_SETUP_NO_SQARRAY()) == 0;
    long sqBytes = hasArray ? io_sqring_offsets.array(sq) + 4L * sqEntries : 0L;
    long cqBytes = io_cqring_offsets.cqes(cq) + (long) cqEntries * io_uring_cqe.layout().byteSize();
    rings = map(Math.max(sqBytes, cqBytes), IORING_OFF_SQ_RING());
    Mapping sqesMapped;
    try {
      sqesMapped = map(sqEntries * io_uring_sqe.layout().byteSize(), IORING_OFF_SQES());
    } catch (NativeException e) {
      rings.close();
      throw e;
    }
    sqes = sqesMapped;
    long base = rings.hostVirt();
    if (hasArray) {
      // Entry i of the ring is request i for ever: the indirection is not used.
      for (int i = 0; i < sqEntries; i++) {
        Memory.putInt(base + io_sqring_offsets.array(sq) + 4L * i, i);
      }
    }
    submission =
        new SubmissionRing(
            sqes.hostVirt(),
            base + io_sqring_offsets.head(sq),
            base + io_sqring_offsets.tail(sq),
            base + io_sqring_offsets.flags(sq),
            base + io_sqring_offsets.dropped(sq),
            sqEntries);
    completion =
        new CompletionRing(
            base + io_cqring_offsets.cqes(cq),
            base + io_cqring_offsets.head(cq),
            base + io_cqring_offsets.tail(cq),
            base + io_cqring_offsets.overflow(cq),
            cqEntries);
    waitMemory = Mapping.anonymous(Mapping.PAGE_BYTES);
    waitArgument = waitMemory.hostVirt();
    waitTime = waitArgument + io_uring_getevents_arg.layout().byteSize();
    Memory.putLong(waitArgument + io_uring_getevents_arg.ts$offset(), waitTime);
  }

  /**
   * Sets a ring up; flags that are only wanted are left out when the kernel refuses them.
   *
   * @throws NativeException io_uring_setup with ENOSYS (no io_uring), EPERM (forbidden, see /proc/sys/kernel/io_uring_disabled), EINVAL
   *     (flags that this kernel does not know), ENOMEM (locked memory)
   */
  public static Ring create(RingConfig config) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment params = arena.allocate(io_uring_params.layout());
      int fd = setup(params, config, config.flags() | config.wantedFlags());
      if (fd == -EINVAL() && config.wantedFlags() != 0) {
        fd = setup(params, config, config.flags());
      }
      if (fd < 0) {
        throw new NativeException(
            "io_uring_setup", -fd, "entries=" + config.entries() + " flags=0x" + Integer.toHexString(config.flags()));
      }
      FileDescriptor descriptor = FileDescriptor.adopt(fd);
      try {
        return new Ring(descriptor, params);
      } catch (RuntimeException e) {
        descriptor.close();
        throw e;
      }
    }
  }

  private static int setup(MemorySegment params, RingConfig config, int flags) {
    params.fill((byte) 0);
    int all = flags;
    if (config.completionEntries() > 0) {
      all |= IORING_SETUP_CQSIZE();
      io_uring_params.cq_entries(params, config.completionEntries());
    }
    if ((flags & IORING_SETUP_SQPOLL()) != 0) {
      io_uring_params.sq_thread_idle(params, config.sqThreadIdleMillis());
      if (config.sqThreadCpu() >= 0) {
        all |= IORING_SETUP_SQ_AFF();
        io_uring_params.sq_thread_cpu(params, config.sqThreadCpu());
      }
    }
    io_uring_params.flags(params, all);
    return (int) Syscall.call(__NR_io_uring_setup(), config.entries(), params.address());
  }

  private Mapping map(long bytes, long offset) {
    return Mapping.map(bytes, PROT_READ() | PROT_WRITE(), MAP_SHARED() | MAP_POPULATE(), descriptor.fd(), offset);
  }

  public SubmissionRing submission() {
    return submission;
  }

  public CompletionRing completion() {
    return completion;
  }

  /** For poll(2), another ring's message, or registering elsewhere; it stays this ring's own. */
  public int fd() {
    return descriptor.fd();
  }

  /** IORING_SETUP_* that the ring has, wanted ones included. */
  public int flags() {
    return flags;
  }

  /** IORING_FEAT_* of this kernel. */
  public int features() {
    return features;
  }

  /** Hands over what was prepared; returns the number of requests that the kernel took, or −errno (−EBUSY: reap completions first). */
  public int submit() {
    return submitAndWait(0);
  }

  /**
   * Hands over what was prepared and, in the same call, does as {@link #reap}: for a thread that looks for completions at each turn. Nothing is called when neither
   * has anything to do.
   *
   * @return number of requests that the kernel took, or −errno
   */
  public int submitAndReap() {
    if (submission.pending() == 0) {
      return reap();
    }
    return enter(0, IORING_ENTER_GETEVENTS(), 0L, NSIG_BYTES);
  }

  /** The same, and waits until {@code completions} can be taken; −EINTR when a signal came before. */
  public int submitAndWait(int completions) {
    return enter(completions, completions > 0 ? IORING_ENTER_GETEVENTS() : 0, 0L, NSIG_BYTES);
  }

  /**
   * The same with a bound.
   *
   * @return number of requests handed over, −ETIME when the time was over and nothing was handed over, or −errno
   */
  public int submitAndWait(int completions, long nanos) {
    Memory.putLong(waitTime + __kernel_timespec.tv_sec$offset(), nanos / NANOS_PER_SECOND);
    Memory.putLong(waitTime + __kernel_timespec.tv_nsec$offset(), nanos % NANOS_PER_SECOND);
    return enter(
        completions, IORING_ENTER_GETEVENTS() | IORING_ENTER_EXT_ARG(), waitArgument, io_uring_getevents_arg.layout().byteSize());
  }

  /**
   * Lets the kernel do completion work that waits for this thread and bring back completions that did not fit the ring.
   *
   * @return 0, or −errno
   */
  public int reap() {
    int kernel = submission.kernelFlags();
    if ((kernel & (IORING_SQ_CQ_OVERFLOW() | IORING_SQ_TASKRUN())) == 0) {
      boolean unannounced = (flags & IORING_SETUP_DEFER_TASKRUN()) != 0 && (flags & IORING_SETUP_TASKRUN_FLAG()) == 0;
      if (!unannounced) {
        return 0;
      }
    }
    return (int) Syscall.call(__NR_io_uring_enter(), descriptor.fd(), 0, 0, IORING_ENTER_GETEVENTS(), 0, NSIG_BYTES);
  }

  /** Whether {@link #reap} or the completion ring has something, as far as the kernel says it in the rings. */
  public boolean hasNews() {
    return (submission.kernelFlags() & (IORING_SQ_CQ_OVERFLOW() | IORING_SQ_TASKRUN())) != 0 || completion.ready() > 0;
  }

  /** Whether completions wait in the kernel because the ring was full; {@link #reap} brings them. */
  public boolean hasOverflow() {
    return (submission.kernelFlags() & IORING_SQ_CQ_OVERFLOW()) != 0;
  }

  private int enter(int completions, int enterFlags, long argument, long argumentBytes) {
    submission.publish();
    int toSubmit = submission.pending();
    int all = enterFlags;
    if ((flags & IORING_SETUP_SQPOLL()) != 0) {
      // The tail must be visible before the flag is read, or both sides sleep.
      VarHandle.fullFence();
      if ((submission.kernelFlags() & IORING_SQ_NEED_WAKEUP()) != 0) {
        all |= IORING_ENTER_SQ_WAKEUP();
      } else if (completions == 0 && enterFlags == 0) {
        return toSubmit;
      }
    } else if (toSubmit == 0 && completions == 0 && enterFlags == 0) {
      return 0;
    }
    return (int) Syscall.call(__NR_io_uring_enter(), descriptor.fd(), toSubmit, completions, all, argument, argumentBytes);
  }

  /** Waits until the polling thread has taken requests over and there is room (SQPOLL only). */
  public int waitForSpace() {
    submission.publish();
    return (int) Syscall.call(__NR_io_uring_enter(), descriptor.fd(), 0, 0, IORING_ENTER_SQ_WAIT(), 0, NSIG_BYTES);
  }

  /** io_uring_register(2) with everything given; returns its result or −errno. */
  public int register(int opcode, long argument, int count) {
    return (int) Syscall.call(__NR_io_uring_register(), descriptor.fd(), opcode, argument, count);
  }

  /** Starts a ring that was created DISABLED, for the calling thread. */
  public int enable() {
    return register(IORING_REGISTER_ENABLE_RINGS(), 0, 0);
  }

  /**
   * Makes descriptors known by index, so that a request with {@link SubmissionRing#FIXED_FILE} saves the look-up; −1 leaves a free place.
   *
   * @return 0, or −errno (−EBUSY: a table is there already)
   */
  public int registerFiles(int... fds) {
    try (Arena temporary = Arena.ofConfined()) {
      long table = temporary.allocate(4L * fds.length, 4).address();
      for (int i = 0; i < fds.length; i++) {
        Memory.putInt(table + 4L * i, fds[i]);
      }
      return register(IORING_REGISTER_FILES(), table, fds.length);
    }
  }

  public int unregisterFiles() {
    return register(IORING_UNREGISTER_FILES(), 0, 0);
  }

  /**
   * Pins memory so that requests on it save the page look-up.
   *
   * @param addressesAndBytes address and length of each buffer in turn; its index is its place here
   * @return 0, or −errno (−ENOMEM: RLIMIT_MEMLOCK; −EBUSY: buffers are registered already)
   */
  public int registerBuffers(long... addressesAndBytes) {
    try (Arena temporary = Arena.ofConfined()) {
      // struct iovec is an address and a length
      long table = temporary.allocate(8L * addressesAndBytes.length, 8).address();
      for (int i = 0; i < addressesAndBytes.length; i++) {
        Memory.putLong(table + 8L * i, addressesAndBytes[i]);
      }
      return register(IORING_REGISTER_BUFFERS(), table, addressesAndBytes.length / 2);
    }
  }

  public int unregisterBuffers() {
    return register(IORING_UNREGISTER_BUFFERS(), 0, 0);
  }

  /** Every completion makes that eventfd(2) readable; −1 takes it back. */
  public int registerEventFd(int eventFd) {
    if (eventFd < 0) {
      return register(IORING_UNREGISTER_EVENTFD(), 0, 0);
    }
    try (Arena temporary = Arena.ofConfined()) {
      long fd = temporary.allocate(4, 4).address();
      Memory.putInt(fd, eventFd);
      return register(IORING_REGISTER_EVENTFD(), fd, 1);
    }
  }

  /** Whether {@code result} of a submit says that completions must be reaped before more is handed over. */
  public static boolean isBusy(int result) {
    return result == -EBUSY();
  }

  @Override
  public void close() {
    if (!descriptor.isOpen()) {
      return;
    }
    sqes.close();
    rings.close();
    descriptor.close();
    waitMemory.close();
  }
}
