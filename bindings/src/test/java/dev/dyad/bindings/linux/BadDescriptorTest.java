package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** Every binding says which errno it got for a descriptor, process or address that does not exist. */
class BadDescriptorTest {

  private static final int BAD_FD = 1 << 20;
  private static final int NO_PID = 1 << 30;

  private interface Call {
    long result();
  }

  private static DynamicTest returning(int errno, String name, Call call) {
    return DynamicTest.dynamicTest(
        name + " should return " + Errno.name(errno),
        () -> assertEquals(Errno.name(errno), Errno.name((int) -call.result())));
  }

  private static DynamicTest throwing(int errno, String name, Runnable call) {
    return DynamicTest.dynamicTest(
        name + " should throw " + Errno.name(errno),
        () -> assertEquals(
            Errno.name(errno), assertThrows(NativeException.class, call::run).errnoName()));
  }

  @TestFactory
  Stream<DynamicTest> shouldReturnErrnoOfABadDescriptor() {
    SocketAddress nowhere = SocketAddress.unix("/nonexistent/socket");
    return Stream.of(
        returning(EBADF(), "Files.read", () -> Files.read(BAD_FD, 0, 0)),
        returning(EBADF(), "Files.write", () -> Files.write(BAD_FD, 0, 0)),
        returning(EBADF(), "Files.pread", () -> Files.pread(BAD_FD, 0, 0, 0)),
        returning(EBADF(), "Files.pwrite", () -> Files.pwrite(BAD_FD, 0, 0, 0)),
        returning(EBADF(), "Files.readv", () -> withVector(v -> Files.readv(BAD_FD, v))),
        returning(EBADF(), "Files.writev", () -> withVector(v -> Files.writev(BAD_FD, v))),
        returning(EBADF(), "Files.seek", () -> Files.seek(BAD_FD, 0, SEEK_DATA())),
        returning(EBADF(), "Files.sync", () -> Files.sync(BAD_FD)),
        returning(EBADF(), "Files.dataSync", () -> Files.dataSync(BAD_FD)),
        returning(EBADF(), "Files.lock", () -> Files.lock(BAD_FD, LOCK_EX())),
        returning(EBADF(), "Files.truncate", () -> Files.truncate(BAD_FD, 0)),
        returning(EBADF(), "Files.allocate", () -> Files.allocate(BAD_FD, 0, 0, 1)),
        returning(EBADF(), "Files.bytes", () -> Files.bytes(BAD_FD)),
        returning(EBADF(), "Files.setPipeBytes", () -> Files.setPipeBytes(BAD_FD, 4096)),
        returning(ENOENT(), "Files.tryOpen", () -> Files.tryOpen("/nonexistent", O_RDONLY(), 0)),
        returning(EBADF(), "Ioctl", () -> Ioctl.call(BAD_FD, TUNGETIFF(), 0)),
        returning(EBADF(), "Sockets.send", () -> Sockets.send(BAD_FD, 0, 0, 0)),
        returning(EBADF(), "Sockets.receive", () -> Sockets.receive(BAD_FD, 0, 0, 0)),
        returning(EBADF(), "Sockets.send vector", () -> withVector(v -> Sockets.send(BAD_FD, v, 0))),
        returning(EBADF(), "Sockets.receive vector", () -> withVector(v -> Sockets.receive(BAD_FD, v, 0))),
        returning(EBADF(), "Sockets.accept", () -> Sockets.accept(BAD_FD, 0)),
        returning(EBADF(), "Sockets.connect", () -> Sockets.connect(BAD_FD, nowhere)),
        returning(EBADF(), "Sockets.shutdown", () -> Sockets.shutdown(BAD_FD, SHUT_RDWR())),
        returning(EBADF(), "Sockets.sendDescriptor", () -> Sockets.sendDescriptor(BAD_FD, 0)),
        returning(EBADF(), "Sockets.receiveDescriptor", () -> Sockets.receiveDescriptor(BAD_FD)),
        returning(EBADF(), "Sockets.setNoDelay", () -> Sockets.setNoDelay(BAD_FD)),
        returning(EBADF(), "Sockets.pendingError", () -> Sockets.pendingError(BAD_FD)),
        returning(EBADF(), "Sockets.unsentBytes", () -> Sockets.unsentBytes(BAD_FD)),
        returning(EBADF(), "EventFd.signal", () -> EventFd.signal(BAD_FD)),
        returning(EBADF(), "EventFd.drain", () -> EventFd.readCount(BAD_FD)),
        returning(EBADF(), "Namespaces.enter", () -> Namespaces.enter(BAD_FD, 0)),
        returning(ESRCH(), "RemoteMemory.read", () -> RemoteMemory.read(NO_PID, 0, 0, 1)),
        returning(ESRCH(), "RemoteMemory.write", () -> RemoteMemory.write(NO_PID, 0, 0, 1)),
        returning(ESRCH(), "Ptrace.seize", () -> Ptrace.seize(NO_PID, 0)),
        returning(ESRCH(), "Ptrace.interrupt", () -> Ptrace.interrupt(NO_PID)),
        returning(ESRCH(), "Ptrace.getRegisters", () -> withRegisters(r -> Ptrace.getRegisters(NO_PID, r))),
        returning(ESRCH(), "Ptrace.setRegisters", () -> withRegisters(r -> Ptrace.setRegisters(NO_PID, r))),
        returning(ESRCH(), "Ptrace.singleStep", () -> Ptrace.singleStep(NO_PID, 0)),
        returning(ESRCH(), "Ptrace.resume", () -> Ptrace.resume(NO_PID, 0)),
        returning(ESRCH(), "Ptrace.listen", () -> Ptrace.listen(NO_PID)),
        returning(ESRCH(), "Ptrace.detach", () -> Ptrace.detach(NO_PID, 0)),
        returning(ESRCH(), "Ptrace.peek", () -> Ptrace.peek(NO_PID, 0, 0)),
        returning(ESRCH(), "Ptrace.poke", () -> Ptrace.poke(NO_PID, 0, 0)),
        returning(ESRCH(), "Ptrace.getSignalMask", () -> Ptrace.getSignalMask(NO_PID, 0)),
        returning(ESRCH(), "Ptrace.setSignalMask", () -> Ptrace.setSignalMask(NO_PID, 0)),
        returning(ECHILD(), "Ptrace.waitStatus", () -> Ptrace.waitStatus(NO_PID, WNOHANG())),
        returning(ESRCH(), "Threads.signal", () -> Threads.signal(NO_PID, NO_PID, 0)),
        returning(ESRCH(), "Threads.setAffinity", () -> Threads.setAffinity(NO_PID, 0)),
        returning(EINVAL(), "Threads.setAffinity of no core", () -> Threads.setAffinity(0, Threads.MAX_CPUS)),
        returning(ESRCH(), "Threads.setScheduler", () -> Threads.setScheduler(NO_PID, SCHED_OTHER(), 0)),
        returning(ESRCH(), "Threads.setNice", () -> Threads.setNice(NO_PID, 0)),
        returning(EINVAL(), "Clocks.read", () -> Clocks.read(99)),
        returning(EFAULT(), "Futex.await", () -> Futex.await(4, 0, 1)),
        returning(EFAULT(), "Futex.wake", () -> Futex.wake(4, 1)));
  }

  @TestFactory
  Stream<DynamicTest> shouldThrowWhereAFailureMeansABrokenEnvironment() {
    SocketAddress nowhere = SocketAddress.unix("/nonexistent/socket");
    return Stream.of(
        throwing(ENOENT(), "Files.open", () -> Files.open("/nonexistent", O_RDONLY())),
        throwing(ENOENT(), "Files.makeFifo", () -> Files.makeFifo("/nonexistent/fifo", 0600)),
        throwing(EBADF(), "Mapping.shared", () -> Mapping.shared(BAD_FD, 0, 4096)),
        throwing(EBADF(), "Mapping.mirrored", () -> Mapping.mirrored(BAD_FD, 0, 4096)),
        throwing(EINVAL(), "MemFd.create", () -> MemFd.create("x", -1)),
        throwing(ENOENT(), "PagemapScan.open", () -> PagemapScan.open(NO_PID, 1)),
        throwing(ESRCH(), "PidFd.open", () -> PidFd.open(NO_PID)),
        throwing(EAFNOSUPPORT(), "Sockets.open", () -> Sockets.open(9999, SOCK_STREAM())),
        throwing(ENOENT(), "Sockets.listen", () -> Sockets.listen(nowhere, 1)),
        throwing(ENOENT(), "Sockets.connect", () -> Sockets.connect(nowhere, SOCK_STREAM())),
        throwing(EBADF(), "Sockets.localAddress", () -> Sockets.localAddress(BAD_FD)),
        throwing(EBADF(), "Sockets.peerAddress", () -> Sockets.peerAddress(BAD_FD)),
        throwing(EBADF(), "Sockets.peerCredentials", () -> Sockets.peerCredentials(BAD_FD)),
        throwing(ENOENT(), "Namespaces.enter", () -> Namespaces.enter("/nonexistent", CLONE_NEWNET())),
        throwing(EINVAL(), "Limits.soft", () -> Limits.soft(99)),
        throwing(ESRCH(), "Threads.affinity", () -> Threads.affinity(NO_PID)));
  }

  @TestFactory
  Stream<DynamicTest> shouldReturnEbadfOfAnOwnerThatIsClosed() {
    EventFd event = new EventFd();
    TimerFd timer = new TimerFd();
    Userfaultfd faults = Userfaultfd.adopt(FileDescriptor.adopt(Files.tryOpen("/dev/null", O_RDONLY(), 0)));
    PidFd self = PidFd.open(Threads.processId());
    MemFd memory = MemFd.create("x", 4096);
    FileDescriptor file = Files.open("/dev/null", O_RDONLY());
    event.close();
    timer.close();
    faults.close();
    self.close();
    memory.close();
    file.close();
    return Stream.of(
        returning(EBADF(), "EventFd.signal", event::signal),
        returning(EBADF(), "EventFd.drain", event::drain),
        returning(EBADF(), "TimerFd.arm", () -> timer.arm(1, 1)),
        returning(EBADF(), "TimerFd.takeExpirations", timer::takeExpirations),
        returning(EBADF(), "Userfaultfd.enable", () -> faults.enable(0)),
        returning(EBADF(), "Userfaultfd.register", () -> faults.register(0, 4096, 0)),
        returning(EBADF(), "Userfaultfd.unregister", () -> faults.unregister(0, 4096)),
        returning(EBADF(), "Userfaultfd.protect", () -> faults.protect(0, 4096)),
        returning(EBADF(), "Userfaultfd.unprotect", () -> faults.unprotect(0, 4096)),
        returning(EBADF(), "Userfaultfd.wake", () -> faults.wake(0, 4096)),
        returning(EBADF(), "Userfaultfd.copy", () -> faults.copy(0, 0, 4096, 0)),
        returning(EBADF(), "Userfaultfd.readMessages", () -> faults.readMessages(0, 32)),
        returning(EBADF(), "PidFd.takeDescriptor", () -> self.takeDescriptor(0)),
        returning(EBADF(), "PidFd.sendSignal", () -> self.sendSignal(0)),
        returning(EBADF(), "MemFd.seal", () -> memory.seal(0)),
        throwing(EBADF(), "FileDescriptor.duplicate", file::duplicate),
        throwing(EBADF(), "FileDescriptor.setNonBlocking", () -> file.setNonBlocking(true)));
  }

  @Test
  void shouldReportABadDescriptorOfAPollAsAnEvent() {
    try (Poll poll = new Poll(2)) {
      poll.set(1, BAD_FD, POLLIN());
      assertEquals(1, poll.await(0));
      assertEquals(POLLNVAL(), poll.ready(1));
      assertEquals(0, poll.ready(0), "switched off");
    }
    assertEquals(POLLNVAL(), Poll.once(BAD_FD, POLLIN(), 0));
  }

  @Test
  void shouldRefuseABadDescriptorInAnEpollSet() {
    try (Epoll epoll = new Epoll(4)) {
      assertEquals(-EBADF(), epoll.add(BAD_FD, EPOLLIN(), 0));
      assertEquals(-EBADF(), epoll.modify(BAD_FD, EPOLLIN(), 0));
      assertEquals(-EBADF(), epoll.remove(BAD_FD));
    }
  }

  @Test
  void shouldNameCallErrnoAndValues() {
    NativeException e = assertThrows(NativeException.class, () -> Mapping.shared(BAD_FD, 0, 4096));
    assertEquals("mmap", e.call());
    assertEquals(EBADF(), e.errno());
    String message = String.valueOf(e.getMessage());
    assertTrue(message.startsWith("mmap: EBADF (bytes=4096 "), message);
  }

  @Test
  void shouldTakeNoMoreRangesThanAVectorHas() {
    try (IoVector vector = new IoVector(2)) {
      assertTrue(vector.add(4096, 1) && vector.add(8192, 1));
      assertEquals(2, vector.count());
      assertTrue(vector.add(8193, 5), "touches the last one");
      assertEquals(2, vector.count());
      assertTrue(!vector.add(0, 1), "full");
      assertEquals(7, vector.bytes());
      vector.consume(3);
      assertEquals(1, vector.count());
      assertEquals(8194, Memory.getLong(vector.hostVirt()));
      assertEquals(4, vector.bytes());
    }
    assertThrows(IllegalArgumentException.class, () -> new IoVector(1025));
  }

  private interface OnVector {
    long result(IoVector vector);
  }

  private static long withVector(OnVector call) {
    try (IoVector vector = new IoVector(1)) {
      return call.result(vector);
    }
  }

  private interface OnRegisters {
    long result(Registers registers);
  }

  private static long withRegisters(OnRegisters call) {
    try (Registers registers = new Registers()) {
      return call.result(registers);
    }
  }
}
