package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The calls of the steady state allocate nothing: 0 bytes over {@value #CALLS} calls each. */
class AllocationTest {

  private static final int CALLS = 20_000;
  private static final int ROUNDS = 60;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final Mapping memory = Mapping.anonymous(1 << 20);
  private final long at = memory.hostVirt();
  private long sum;

  @SuppressWarnings("unused")
  private long[] kept = {};

  @AfterEach
  void close() {
    Memory.putLong(at, sum); // a result that is used keeps the calls from being left out
    memory.close();
  }

  /**
   * Bytes that {@link #CALLS} calls allocated; the fewest of some rounds, since the first ones also link classes, and on a busy machine the
   * compiler takes its time.
   */
  private long allocatedBytes(LongSupplier call) {
    long fewest = Long.MAX_VALUE;
    for (int round = 0; round < ROUNDS && fewest > 0; round++) {
      for (int i = 0; i < CALLS; i++) {
        sum += call.getAsLong();
      }
      long before = THREADS.getCurrentThreadAllocatedBytes();
      for (int i = 0; i < CALLS; i++) {
        sum += call.getAsLong();
      }
      fewest = Math.min(fewest, THREADS.getCurrentThreadAllocatedBytes() - before);
      if (round > 4) {
        LockSupport.parkNanos(20_000_000);
      }
    }
    return fewest;
  }

  private void assertNothing(String name, LongSupplier call) {
    assertEquals(0, allocatedBytes(call), name);
  }

  @Test
  void shouldNoticeACallThatAllocates() {
    assertTrue(allocatedBytes(() -> {
      kept = new long[2];
      return 1;
    }) > CALLS);
  }

  @Test
  void shouldAllocateNothingInMemoryAccess() {
    assertNothing("get and put", () -> {
      Memory.putLong(at + 1, Memory.getLong(at + 9) + 1);
      Memory.putInt(at + 3, Memory.getShort(at) + Memory.getByte(at));
      return Memory.getInt(at + 3);
    });
    assertNothing("ordered", () -> {
      Memory.putLongRelease(at, Memory.getLongAcquire(at + 8));
      Memory.putIntRelease(at, Memory.getIntAcquire(at + 8));
      return Memory.compareAndSetLong(at, 0, 1) ? 1 : Memory.getAndAddLong(at, 1);
    });
    assertNothing("copy", () -> {
      Memory.copy(at, at + 8192, 4096);
      return 0;
    });
    assertNothing("fill", () -> {
      Memory.fill(at, 4096, (byte) 3);
      return 0;
    });
    assertNothing("mismatch", () -> Memory.mismatch(at, at + 8192, 4096));
    assertNothing("equal", () -> Memory.equal(at, at + 8192, 4096) ? 1 : 0);
  }

  @Test
  void shouldAllocateNothingInFileAndEventCalls() {
    try (MemFd file = MemFd.create("allocation", 8192);
        EventFd bell = new EventFd();
        TimerFd timer = new TimerFd();
        Poll poll = new Poll(2);
        Epoll epoll = new Epoll(2)) {
      poll.set(0, bell.fd(), POLLIN());
      epoll.add(bell.fd(), EPOLLIN(), 1);
      assertNothing("system call", () -> Syscall.call(SYS_getppid()));
      assertNothing("failing system call", () -> Syscall.call(SYS_close(), -1));
      assertNothing("pread, pwrite", () -> Files.pwrite(file.fd(), at, 512, 0) + Files.pread(file.fd(), at, 512, 0));
      assertNothing("size of a file", () -> Files.bytes(file.fd()));
      assertNothing("eventfd", () -> bell.signal() + bell.drain() + bell.drain());
      assertNothing("timerfd", () -> timer.arm(1_000_000_000, 0) + timer.takeExpirations());
      assertNothing("poll", () -> poll.await(0) + poll.ready(0) + Poll.once(bell.fd(), POLLIN(), 0));
      bell.signal();
      assertNothing("epoll", () -> epoll.await(0) + epoll.ready(0) + epoll.data(0));
      assertNothing("clock", () -> Clocks.read(CLOCK_MONOTONIC()) + Clocks.monotonicNs());
    }
  }

  @Test
  void shouldAllocateNothingInSocketCalls() {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    try (FileDescriptor one = ends[0];
        FileDescriptor two = ends[1];
        IoVector vector = new IoVector(8)) {
      assertNothing("send, receive", () -> Sockets.send(one.fd(), at, 64, 0) + Sockets.receive(two.fd(), at, 64, 0));
      assertNothing("vectored", () -> {
        vector.clear();
        vector.add(at, 32);
        vector.add(at + 64, 32);
        long sent = Sockets.send(one.fd(), vector, 0);
        vector.consume(16);
        return sent + Sockets.receive(two.fd(), at, 64, MSG_DONTWAIT()) + vector.bytes();
      });
      assertNothing("would block", () -> Sockets.receive(two.fd(), at, 64, MSG_DONTWAIT()));
      assertNothing("descriptors", () -> {
        Sockets.sendDescriptor(one.fd(), 0);
        return Syscall.call(SYS_close(), Sockets.receiveDescriptor(two.fd()));
      });
      assertNothing("unsent", () -> Sockets.unsentBytes(one.fd()));
    }
  }

  @Test
  void shouldAllocateNothingInThreadAndSignalCalls() {
    int self = Threads.id();
    assertNothing("tgkill", () -> Threads.signal(self, 0));
    assertNothing("sigtimedwait", () -> Signals.take(Signals.setOf(Signals.realTime(5)), 0));
    assertNothing("futex", () -> Futex.wake(at, 1) + Futex.await(at, 1, 1));
    assertNothing("wait4", () -> Ptrace.waitStatus(1 << 30, WNOHANG()));
  }

  @Test
  void shouldAllocateNothingInReadingMemoryOfAProcess() {
    try (RemoteMemory remote = new RemoteMemory(Threads.processId(), 16)) {
      assumeTrue(RemoteMemory.read(Threads.processId(), at, at + 4096, 8) == 8, "process_vm_readv is not permitted");
      assertNothing("batch", () -> {
        for (int i = 0; i < 8; i++) {
          remote.add(at + i * 128L, at + 8192 + i * 64L, 64);
        }
        return remote.read();
      });
    }
  }

  @Test
  void shouldAllocateNothingInTrackingWrites() {
    long wanted = UFFD_FEATURE_WP_ASYNC() | UFFD_FEATURE_WP_UNPOPULATED();
    long features = Userfaultfd.supportedFeatures();
    assumeTrue(features >= 0 && (features & wanted) == wanted, "the kernel has no WP_ASYNC (Linux 6.7)");
    try (Userfaultfd tracker = Userfaultfd.create(true);
        PagemapScan scan = PagemapScan.open(0, 16)) {
      assertEquals(0, tracker.enable(wanted));
      assertEquals(0, tracker.register(at, 65536, UFFDIO_REGISTER_MODE_WP()));
      assertNothing("protect", () -> tracker.protect(at, 65536));
      assertNothing("harvest", () -> {
        Memory.putByte(at + 8192, (byte) 1);
        return scan.harvest(at, at + 65536) + scan.startVirt(0) + scan.endVirt(0) + scan.walkEnd();
      });
    }
  }
}
