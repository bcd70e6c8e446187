package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class WaitingTest {

  @Test
  void shouldWakeAnEpollByItsBellAndSayWhose() {
    try (Epoll epoll = new Epoll(4);
        EventFd one = new EventFd();
        EventFd two = new EventFd()) {
      assertEquals(0, epoll.add(one.fd(), EPOLLIN(), 0x1_0000_0001L));
      assertEquals(0, epoll.add(two.fd(), EPOLLIN(), 2));
      assertEquals(0, epoll.await(0));
      assertEquals(8, one.signal());
      assertEquals(8, one.signal());
      assertEquals(1, epoll.await(1000));
      assertEquals(0x1_0000_0001L, epoll.data(0));
      assertEquals(EPOLLIN(), epoll.ready(0));
      assertEquals(2, one.drain());
      assertEquals(-EAGAIN(), one.drain());
      two.signal();
      one.signal();
      assertEquals(2, epoll.await(1000));
      assertEquals(0x1_0000_0003L, epoll.data(0) + epoll.data(1));
      assertEquals(0, epoll.modify(two.fd(), 0, 2));
      assertEquals(0, epoll.remove(one.fd()));
      assertEquals(0, epoll.await(0));
    }
  }

  @Test
  void shouldExpireOnceAndPeriodically() {
    try (TimerFd timer = new TimerFd()) {
      assertEquals(-EAGAIN(), timer.takeExpirations());
      assertEquals(0, timer.arm(1_000_000, 0));
      assertEquals(POLLIN(), Poll.once(timer.fd(), POLLIN(), 10_000));
      assertEquals(1, timer.takeExpirations());
      assertEquals(0, timer.armAt(Clocks.monotonicNs() - 1_000_000, 100_000));
      assertEquals(POLLIN(), Poll.once(timer.fd(), POLLIN(), 10_000));
      assertTrue(timer.takeExpirations() >= 10, "the periods that are gone count");
      assertEquals(0, timer.disarm());
    }
  }

  /** /proc/uptime counts the time of suspension as well: proc(5). */
  @Test
  void shouldCountSuspendedTimeToo() throws java.io.IOException {
    double uptime = Double.parseDouble(java.nio.file.Files.readString(Path.of("/proc/uptime")).split(" ")[0]);
    assertEquals(uptime, Clocks.bootNs() / 1e9, 5);
  }

  @Test
  void shouldReadTheClockThatNanoTimeIs() {
    long before = Clocks.monotonicNs();
    long kernel = Clocks.read(CLOCK_MONOTONIC());
    assertTrue(kernel >= before && kernel <= Clocks.monotonicNs());
  }

  @Test
  void shouldTakeABlockedSignalWithoutAHandler() throws InterruptedException {
    AtomicInteger taken = new AtomicInteger();
    Thread thread = Thread.ofPlatform().start(() -> {
      int signal = Signals.realTime(3);
      long set = Signals.setOf(signal);
      if (Signals.block(set) != 0 || (Signals.blocked() & set) == 0) {
        return;
      }
      if (Signals.take(set, 0) != -EAGAIN()) {
        return;
      }
      Threads.signal(Threads.id(), signal);
      taken.set(Signals.take(set, 1_000_000_000L));
    });
    thread.join();
    assertEquals(Signals.realTime(3), taken.get());
  }

  @Test
  void shouldWakeAWaiterOnASharedWord() throws InterruptedException {
    try (Mapping memory = Mapping.mirrored(4096)) {
      long word = memory.hostVirt();
      assertEquals(-EAGAIN(), Futex.await(word, 1, 1_000_000));
      assertEquals(-ETIMEDOUT(), Futex.await(word, 0, 1_000_000));
      Thread waiter = Thread.ofPlatform().start(() -> {
        while (Memory.getIntAcquire(word) == 0) {
          Futex.await(word, 0, 10_000_000_000L);
        }
      });
      Memory.putIntRelease(word + 4096, 1); // the other view of the same word
      Futex.wake(word, 1);
      waiter.join(10_000);
      assertTrue(!waiter.isAlive());
    }
  }

  @Test
  void shouldSetCoreNameAndPolicyOfThisThread() throws InterruptedException {
    AtomicInteger failures = new AtomicInteger(-1);
    Thread thread = Thread.ofPlatform().start(() -> {
      int[] all = Threads.affinity(0);
      int failed = Threads.setAffinity(0, all[all.length - 1]) == 0 ? 0 : 1;
      failed += Threads.affinity(0).length == 1 ? 0 : 2;
      failed += Threads.affinity(0)[0] == all[all.length - 1] ? 0 : 4;
      failed += Threads.setName("a-name-that-is-too-long") == 0 ? 0 : 8;
      failed += Threads.setTimerSlack(1000) == 0 ? 0 : 16;
      failed += Threads.setScheduler(0, SCHED_OTHER(), 0) == 0 ? 0 : 32;
      failed += Threads.setNice(0, 19) == 0 ? 0 : 64;
      failures.set(failed);
    });
    thread.join();
    assertEquals(0, failures.get());
  }

  @Test
  void shouldLockOutASecondOpenOfAFile(@TempDir Path folder) {
    String path = folder.resolve("lock").toString();
    try (FileDescriptor two = Files.open(path, O_RDWR() | O_CREAT(), 0600)) {
      try (FileDescriptor one = Files.open(path, O_RDWR())) {
        assertEquals(0, Files.lock(one.fd(), LOCK_EX() | LOCK_NB()));
        assertEquals(-EAGAIN(), Files.lock(two.fd(), LOCK_EX() | LOCK_NB()));
      }
      assertEquals(0, Files.lock(two.fd(), LOCK_EX() | LOCK_NB()));
    }
  }

  @Test
  void shouldWriteReadAndResizeAFile(@TempDir Path folder) {
    try (FileDescriptor file = Files.open(folder.resolve("f").toString(), O_RDWR() | O_CREAT(), 0600);
        Mapping memory = Mapping.anonymous(8192);
        IoVector vector = new IoVector(2)) {
      Memory.putLong(memory.hostVirt(), 5);
      assertEquals(8, Files.pwrite(file.fd(), memory.hostVirt(), 8, 100));
      assertEquals(108, Files.bytes(file.fd()));
      assertEquals(8, Files.pread(file.fd(), memory.hostVirt() + 8, 8, 100));
      assertEquals(5, Memory.getLong(memory.hostVirt() + 8));
      vector.add(memory.hostVirt(), 3);
      vector.add(memory.hostVirt() + 8, 5);
      assertEquals(8, Files.writev(file.fd(), vector));
      assertEquals(0, Files.dataSync(file.fd()));
      assertEquals(0, Files.truncate(file.fd(), 4096));
      assertEquals(4096, Files.bytes(file.fd()));
    }
  }

  @Test
  void shouldMakeAFifo(@TempDir Path folder) {
    String path = folder.resolve("fifo").toString();
    Files.makeFifo(path, 0600);
    try (FileDescriptor fifo = Files.open(path, O_RDWR() | O_NONBLOCK())) {
      assertTrue(Files.setPipeBytes(fifo.fd(), 1 << 18) >= 1 << 18);
    }
  }

  @Test
  void shouldReadLimitsAndRaiseThem() {
    assertTrue(Limits.hard(RLIMIT_NOFILE()) == Limits.INFINITY || Limits.hard(RLIMIT_NOFILE()) >= Limits.soft(RLIMIT_NOFILE()));
    assertEquals(0, Limits.raiseToHard(RLIMIT_NOFILE()));
    assertEquals(Limits.hard(RLIMIT_NOFILE()), Limits.soft(RLIMIT_NOFILE()));
  }

  @Test
  void shouldCarryFramesOverATap() throws InterruptedException {
    assumeTrue(java.nio.file.Files.isWritable(Path.of("/dev/net/tun")), "/dev/net/tun cannot be opened");
    String[] skipped = {null};
    Object[] seen = new Object[2];
    // A network namespace of its own: the machine's interfaces are none of a test's business.
    Thread thread = Thread.ofPlatform().start(() -> {
      int left = Namespaces.leave(CLONE_NEWNET());
      if (left < 0) {
        skipped[0] = "unshare: " + Errno.name(-left);
        return;
      }
      try (Tap tap = Tap.open("dyad%d");
          Mapping frame = Mapping.anonymous(4096)) {
        tap.setMtu(1400);
        assertEquals(-EIO(), tap.write(frame.hostVirt(), 60));
        tap.bringUp();
        assertEquals(6, tap.hardwareAddress().length);
        assertEquals(60, tap.write(frame.hostVirt(), 60));
        // IPv6 introduces itself on an interface that comes up: the host's first frame.
        assertTrue(Poll.once(tap.fd(), POLLIN(), 10_000) > 0);
        seen[0] = tap.name();
        seen[1] = tap.read(frame.hostVirt(), 4096);
      } catch (NativeException e) {
        skipped[0] = e.getMessage();
      }
    });
    thread.join();
    assumeTrue(skipped[0] == null, () -> "no TAP: " + skipped[0]);
    assertEquals("dyad0", seen[0]);
    assertTrue((long) seen[1] >= 42, "bytes " + seen[1]);
  }
}
