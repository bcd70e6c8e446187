package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.UFFDIO_REGISTER_MODE_WP;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_EVENT_PAGEFAULT;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_PAGEFAULT_FLAG_WP;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

import dev.dyad.bindings.abi.linux.uffd_msg;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.Threads;
import dev.dyad.bindings.linux.Userfaultfd;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;

/**
 * Copies pages after the guest has gone on: they are write-protected (userfaultfd(2)) in the mapping that KVM uses, the epoch thread copies them, and a
 * page that the guest writes before its turn is copied first by a thread of this class, {@code cow}.
 *
 * <pre>
 *   epoch thread   begin, take(runs)…  resume   copyRest: copy a piece, next piece, …, lift the protection of the run
 *   guest                              writes p: waits ──┐
 *   cow thread                                           copy p unless it is, lift the protection of p
 * </pre>
 *
 * <p>This process itself writes to the guest's memory through another mapping, which is not protected: a thread of Java that waited on a page fault
 * would hold up a safepoint, and with it the thread that is to end its wait. So devices write nothing until {@link #copyRest} is done.
 *
 * <p>All copying is under this object's lock. Owns the userfaultfd and its thread.
 */
final class CopyOnWrite implements AutoCloseable {
  /** A shorter run is copied sooner than protected. */
  private static final int RUN_PAGES_MIN = 64;

  /** How long a write may have to wait for the lock. */
  private static final int PIECE_PAGES = 16;

  private static final int RUNS_MAX = 1 << 12;
  private static final int MESSAGES = 16;
  private static final int MESSAGE_BYTES = (int) uffd_msg.sizeof();
  private static final long ADDRESS_OFFSET = 16; // of msg.arg.pagefault.address: a byte, padding, flags
  private static final int PAGE_BYTES = GuestMemory.PAGE_BYTES;

  private final long guestVirt;
  private final long hostVirt;
  private final Userfaultfd faults = Userfaultfd.create(false);
  private final EventFd end = new EventFd();
  private final Mapping messages = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final Thread thread = Thread.ofPlatform().name("cow").daemon().unstarted(this::serve);

  // The epoch thread's, while the guest is paused; read by both while runs are left, under the lock.
  private final long[] firstPage = new long[RUNS_MAX];
  private final int[] pageCount = new int[RUNS_MAX];
  private final long[] destination = new long[RUNS_MAX];
  private int runs;
  private final PageSet left;

  private volatile boolean closed;
  private volatile long waits;

  /** What this host lacks for it, in one line; empty when nothing. */
  static String unusable() {
    long features = Userfaultfd.supportedFeatures();
    if (features < 0) {
      return "copy-on-write needs userfaultfd, and the kernel refuses it: run as root, or: sysctl vm.unprivileged_userfaultfd=1";
    }
    return (features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM()) == 0 ? "copy-on-write needs UFFD_FEATURE_WP_HUGETLBFS_SHMEM (Linux 5.19)" : "";
  }

  CopyOnWrite(GuestRam ram) {
    guestVirt = ram.guestVirt();
    hostVirt = ram.hostVirt();
    left = new PageSet(ram.pages());
    NativeException.check(faults.enable(UFFD_FEATURE_PAGEFAULT_FLAG_WP() | UFFD_FEATURE_WP_HUGETLBFS_SHMEM()), "UFFDIO_API", "write protection of shared memory");
    NativeException.check(faults.register(guestVirt, ram.bytes(), UFFDIO_REGISTER_MODE_WP()), "UFFDIO_REGISTER", "guest memory");
    thread.start();
  }

  /** Times that a write of the guest's waited for its page. */
  long waits() {
    return waits;
  }

  // ---- the epoch thread

  /** Takes what is worth it, and copies the rest at once. The machine is paused and {@link #copyRest} follows its resume. */
  void take(DirtyPages pages, long to) {
    long at = to;
    for (int i = 0; i < pages.runCount(); i++) {
      long first = DirtyPages.firstPage(pages.run(i));
      int count = DirtyPages.pageCount(pages.run(i));
      if (count < RUN_PAGES_MIN || !protect(first, count, at)) {
        Memory.copy(hostVirt + first * PAGE_BYTES, at, (long) count * PAGE_BYTES);
      }
      at += (long) count * PAGE_BYTES;
    }
  }

  private synchronized boolean protect(long first, int count, long to) {
    if (runs == RUNS_MAX || faults.protect(guestVirt + first * PAGE_BYTES, (long) count * PAGE_BYTES) < 0) {
      return false;
    }
    for (int i = 0; i < count; i++) {
      left.add(first + i);
    }
    firstPage[runs] = first;
    pageCount[runs] = count;
    destination[runs++] = to;
    return true;
  }

  boolean isPending() {
    return runs > 0;
  }

  /** Copies what was taken; on return nothing waits any more. The guest runs. */
  void copyRest() {
    for (int run = 0; run < runs; run++) {
      for (int done = 0; done < pageCount[run]; done += PIECE_PAGES) {
        copyPiece(run, done, Math.min(PIECE_PAGES, pageCount[run] - done));
      }
      // Those who met the protection after their page was copied are woken by this.
      NativeException.check(faults.unprotect(guestVirt + firstPage[run] * PAGE_BYTES, (long) pageCount[run] * PAGE_BYTES), "UFFDIO_WRITEPROTECT", "lifting it");
    }
    forgetRuns();
  }

  private synchronized void copyPiece(int run, int from, int count) {
    for (int i = from; i < from + count; i++) {
      if (left.contains(firstPage[run] + i)) {
        Memory.copy(hostVirt + (firstPage[run] + i) * PAGE_BYTES, destination[run] + (long) i * PAGE_BYTES, PAGE_BYTES);
      }
    }
    // Only now: a page that is not left may be written.
    for (int i = from; i < from + count; i++) {
      left.remove(firstPage[run] + i);
    }
  }

  private synchronized void forgetRuns() {
    runs = 0;
    left.clear();
  }

  // ---- the cow thread

  private void serve() {
    Threads.setName("cow");
    try (Poll wait = new Poll(2)) {
      wait.set(0, faults.fd(), POLLIN());
      wait.set(1, end.fd(), POLLIN());
      while (!closed) {
        wait.await(-1);
        long bytes = faults.readMessages(messages.hostVirt(), (long) MESSAGES * MESSAGE_BYTES);
        for (long at = messages.hostVirt(); at < messages.hostVirt() + bytes; at += MESSAGE_BYTES) {
          if (Memory.getByte(at) == UFFD_EVENT_PAGEFAULT()) {
            let((Memory.getLong(at + ADDRESS_OFFSET) - guestVirt) / PAGE_BYTES);
          }
        }
      }
    }
  }

  /** Somebody waits to write this page. */
  @SuppressWarnings("NonAtomicVolatileUpdate") // this thread alone writes it
  private void let(long page) {
    waits++;
    copyNow(page);
    faults.unprotect(guestVirt + page * PAGE_BYTES, PAGE_BYTES);
  }

  private synchronized void copyNow(long page) {
    if (!left.contains(page)) {
      return;
    }
    for (int run = 0; run < runs; run++) {
      long index = page - firstPage[run];
      if (index >= 0 && index < pageCount[run]) {
        Memory.copy(hostVirt + page * PAGE_BYTES, destination[run] + index * PAGE_BYTES, PAGE_BYTES);
        left.remove(page);
        return;
      }
    }
  }

  @Override
  public void close() {
    closed = true;
    end.signal();
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
    faults.close();
    end.close();
    messages.close();
  }
}
