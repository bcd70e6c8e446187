package dev.dyad.bindings.uring;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static dev.dyad.bindings.abi.uring.uring_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.linux.Syscall;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The scenarios of liburing's own tests that this interface covers, each against the running kernel. */
class RingTest {
  private static final int BLOCK = 4096;

  @TempDir Path folder;
  private Mapping memory;
  private long buffer;
  private FileDescriptor file;

  @BeforeEach
  void openFile() {
    memory = Mapping.anonymous(64 * BLOCK);
    buffer = memory.hostVirt();
    file = Files.open(folder.resolve("data").toString(), O_RDWR() | O_CREAT(), 0600);
  }

  @AfterEach
  void closeFile() {
    file.close();
    memory.close();
  }

  private static void with(RingConfig config, Consumer<Ring> test) {
    try (Ring ring = Ring.create(config)) {
      test.accept(ring);
    } catch (NativeException e) {
      assumeTrue(e.errno() != ENOSYS() && e.errno() != EPERM(), "io_uring is not available: " + e.getMessage());
      throw e;
    }
  }

  private static int one(Ring ring, long userData) {
    int rc = ring.submitAndWait(1, 5_000_000_000L);
    assertTrue(rc >= 0, "submitAndWait: " + rc);
    assertTrue(ring.completion().next(), "no completion");
    assertEquals(userData, ring.completion().userData());
    return ring.completion().result();
  }

  /** Results of {@code count} requests with user data 0 to count − 1, in that order. */
  private static int[] results(Ring ring, int count) {
    int[] results = new int[count];
    int seen = 0;
    while (seen < count) {
      int rc = ring.submitAndWait(1, 5_000_000_000L);
      assertTrue(rc >= 0, "submitAndWait: " + rc);
      while (ring.completion().next()) {
        results[(int) ring.completion().userData()] = ring.completion().result();
        seen++;
      }
    }
    return results;
  }

  private long timespec(long nanos) {
    long at = buffer + 63 * BLOCK;
    Memory.putLong(at, nanos / 1_000_000_000L);
    Memory.putLong(at + 8, nanos % 1_000_000_000L);
    return at;
  }

  private int[] pipe() {
    assertEquals(0, Syscall.call(SYS_pipe2(), buffer + 62 * BLOCK, O_CLOEXEC()));
    return new int[] {Memory.getInt(buffer + 62 * BLOCK), Memory.getInt(buffer + 62 * BLOCK + 4)};
  }

  private static void closeAll(int... fds) {
    for (int fd : fds) {
      Syscall.call(SYS_close(), fd);
    }
  }

  @Test
  void nopShouldCompleteWithItsUserDataInEveryKindOfRing() {
    for (RingConfig config : new RingConfig[] {RingConfig.plain(8), RingConfig.of(8), RingConfig.polled(8, 50, -1)}) {
      with(
          config,
          ring -> {
            assertTrue(ring.submission().nop(0x8000_0000_0000_0001L));
            assertEquals(0, one(ring, 0x8000_0000_0000_0001L));
            assertFalse(ring.completion().next());
          });
    }
  }

  @Test
  void userDataShouldUnpackToWhatWasPacked() {
    long packed = UserData.pack(0xfe, UserData.SLOT_MAX, -7);
    assertEquals(0xfe, UserData.kind(packed));
    assertEquals(UserData.SLOT_MAX, UserData.slot(packed));
    assertEquals(-7, UserData.use(packed));
  }

  @Test
  void sqFullShouldBeAReturnCodeAndLoseNothing() {
    with(
        RingConfig.plain(8),
        ring -> {
          for (int i = 0; i < 8; i++) {
            assertTrue(ring.submission().nop(i));
          }
          assertEquals(0, ring.submission().space());
          assertFalse(ring.submission().nop(99));
          assertEquals(8, ring.submit());
          assertEquals(8, ring.submission().space());
          for (int i = 0; i < 8; i++) {
            assertTrue(ring.completion().next());
            assertEquals(i, ring.completion().userData());
          }
          assertFalse(ring.completion().next());
          assertEquals(0, ring.submission().dropped());
        });
  }

  @Test
  void indicesShouldWrapManyTimesWithoutLoss() {
    with(
        RingConfig.of(4),
        ring -> {
          long next = 0;
          for (long i = 0; i < 10_000; i++) {
            assertTrue(ring.submission().nop(i));
            if (i % 3 == 2) {
              ring.submitAndWait(3);
              while (ring.completion().next()) {
                assertEquals(next++, ring.completion().userData());
              }
            }
          }
          ring.submitAndWait(1);
          while (ring.completion().next()) {
            assertEquals(next++, ring.completion().userData());
          }
          assertEquals(10_000, next);
        });
  }

  @Test
  void cqOverflowShouldKeepCompletionsBackAndBringThemOnReap() {
    with(
        RingConfig.plain(4).withCompletionEntries(4),
        ring -> {
          for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 4; i++) {
              assertTrue(ring.submission().nop(round * 4 + i));
            }
            assertEquals(4, ring.submit());
          }
          assertEquals(4, ring.completion().ready());
          assertTrue(ring.hasOverflow());
          int seen = 0;
          while (seen < 12) {
            if (!ring.completion().next()) {
              assertEquals(0, ring.reap());
              continue;
            }
            assertEquals(seen++, ring.completion().userData());
          }
          assertFalse(ring.hasOverflow());
          assertEquals(0, ring.completion().overflowed());
        });
  }

  @Test
  void oneCallShouldHandOverAndBringWhatWaitsForThisThread() {
    FileDescriptor[] ends = Sockets.pair(SOCK_STREAM());
    with(
        RingConfig.of(4),
        ring -> {
          assertEquals(0, ring.submitAndReap(), "nothing to do");
          assertTrue(ring.submission().recv(ends[0].fd(), buffer, 1, 0, 1));
          assertEquals(1, ring.submitAndReap());
          assertEquals(0, ring.completion().ready(), "nothing was sent yet");
          assertEquals(1, Sockets.send(ends[1].fd(), buffer + BLOCK, 1, 0));
          assertTrue(ring.submission().nop(2));
          assertEquals(1, ring.submitAndReap());
          assertEquals(2, ring.completion().ready(), "the kernel keeps the answer of the one back that was begun before");
        });
    ends[0].close();
    ends[1].close();
  }

  @Test
  void readWriteShouldBringBackWhatWasWrittenPlainFixedAndVectored() {
    with(
        RingConfig.of(16),
        ring -> {
          assertEquals(0, ring.registerFiles(file.fd(), -1));
          int rc = ring.registerBuffers(buffer, 8L * BLOCK, buffer + 8 * BLOCK, 8L * BLOCK);
          assertEquals(0, rc);
          assertEquals(-EBUSY(), ring.registerBuffers(buffer, BLOCK));
          Memory.fill(buffer, BLOCK, (byte) 1);
          Memory.fill(buffer + BLOCK, BLOCK, (byte) 2);
          Memory.fill(buffer + 16 * BLOCK, BLOCK, (byte) 3);
          long iovec = buffer + 32 * BLOCK;
          Memory.putLong(iovec, buffer + 16 * BLOCK);
          Memory.putLong(iovec + 8, BLOCK);
          SubmissionRing sq = ring.submission();
          assertTrue(sq.write(file.fd(), buffer, BLOCK, 0L, 0));
          assertTrue(sq.with(SubmissionRing.FIXED_FILE).writeFixed(0, buffer + BLOCK, BLOCK, BLOCK, 0, SubmissionRing.RWF_DSYNC, 1));
          assertTrue(sq.writev(file.fd(), iovec, 1, 2L * BLOCK, 0, 2));
          for (int result : results(ring, 3)) {
            assertEquals(BLOCK, result);
          }
          Memory.putLong(iovec, buffer + 20 * BLOCK);
          assertTrue(sq.readFixed(file.fd(), buffer + 8 * BLOCK, 3 * BLOCK, 0L, 1, 0));
          assertTrue(sq.readv(file.fd(), iovec, 1, 2L * BLOCK, 1));
          int[] read = results(ring, 2);
          assertEquals(3 * BLOCK, read[0]);
          assertEquals(BLOCK, read[1]);
          assertTrue(Memory.equal(buffer, buffer + 8 * BLOCK, 2 * BLOCK));
          assertTrue(Memory.equal(buffer + 16 * BLOCK, buffer + 10 * BLOCK, BLOCK));
          assertTrue(Memory.equal(buffer + 16 * BLOCK, buffer + 20 * BLOCK, BLOCK));
          // a fixed request outside its buffer, and one on a free place of the table
          assertTrue(sq.readFixed(file.fd(), buffer, BLOCK, 0L, 1, 0));
          assertTrue(sq.with(SubmissionRing.FIXED_FILE).read(1, buffer, BLOCK, 0L, 1));
          int[] refused = results(ring, 2);
          assertEquals(-EFAULT(), refused[0]);
          assertEquals(-EBADF(), refused[1]);
          assertEquals(0, ring.unregisterBuffers());
          assertEquals(0, ring.unregisterFiles());
          assertEquals(-ENXIO(), ring.unregisterFiles());
        });
  }

  @Test
  void shortReadAtTheEndOfAFileShouldTellItsBytes() {
    with(
        RingConfig.of(4),
        ring -> {
          assertEquals(1000, Files.pwrite(file.fd(), buffer, 1000, 0));
          assertTrue(ring.submission().read(file.fd(), buffer, BLOCK, 0L, 7));
          assertEquals(1000, one(ring, 7));
          assertTrue(ring.submission().read(file.fd(), buffer, BLOCK, 1000L, 8));
          assertEquals(0, one(ring, 8));
        });
  }

  @Test
  void badDescriptorShouldBeTheResultOfTheRequestNotOfTheSubmit() {
    with(
        RingConfig.of(8),
        ring -> {
          assertTrue(ring.submission().read(9999, buffer, 1, 0L, 0));
          assertTrue(ring.submission().write(-1, buffer, 1, 0L, 1));
          assertTrue(ring.submission().fsync(9999, 2));
          assertTrue(ring.submission().nop(3));
          int[] results = results(ring, 4);
          assertEquals(-EBADF(), results[0]);
          assertEquals(-EBADF(), results[1]);
          assertEquals(-EBADF(), results[2]);
          assertEquals(0, results[3]);
        });
  }

  @Test
  void badAddressShouldBeTheResultOfTheRequest() {
    with(
        RingConfig.of(8),
        ring -> {
          assertTrue(ring.submission().write(file.fd(), 8, BLOCK, 0L, 5));
          assertEquals(-EFAULT(), one(ring, 5));
        });
  }

  @Test
  void unknownOpcodeShouldBeRefusedAndTheRestStillDone() {
    with(
        RingConfig.plain(8).withFlags(RingConfig.SUBMIT_ALL),
        ring -> {
          assertTrue(ring.submission().prepare(250, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0));
          assertTrue(ring.submission().nop(1));
          int[] results = results(ring, 2);
          assertEquals(-EINVAL(), results[0]);
          assertEquals(0, results[1]);
        });
  }

  @Test
  void linkedRequestsShouldBreakAtTheFirstFailure() {
    with(
        RingConfig.of(8),
        ring -> {
          SubmissionRing sq = ring.submission();
          assertTrue(sq.with(SubmissionRing.LINK).nop(0));
          assertTrue(sq.with(SubmissionRing.LINK).read(9999, buffer, 1, 0L, 1));
          assertTrue(sq.with(SubmissionRing.LINK).nop(2));
          assertTrue(sq.nop(3));
          assertTrue(sq.nop(4));
          int[] results = results(ring, 5);
          assertEquals(0, results[0]);
          assertEquals(-EBADF(), results[1]);
          assertEquals(-ECANCELED(), results[2]);
          assertEquals(-ECANCELED(), results[3]);
          assertEquals(0, results[4]);
        });
  }

  @Test
  void shortReadShouldBreakALink() {
    with(
        RingConfig.of(8),
        ring -> {
          assertEquals(100, Files.pwrite(file.fd(), buffer, 100, 0));
          assertTrue(ring.submission().with(SubmissionRing.LINK).read(file.fd(), buffer, BLOCK, 0L, 0));
          assertTrue(ring.submission().nop(1));
          int[] results = results(ring, 2);
          assertEquals(100, results[0]);
          assertEquals(-ECANCELED(), results[1]);
        });
  }

  @Test
  void hardLinkShouldSurviveAFailure() {
    with(
        RingConfig.of(8),
        ring -> {
          assertTrue(ring.submission().with(SubmissionRing.HARDLINK).read(file.fd(), buffer, BLOCK, 0L, 0)); // 0 bytes: short
          assertTrue(ring.submission().nop(1));
          assertEquals(0, results(ring, 2)[1]);
        });
  }

  @Test
  void linkedWriteThenDatasyncThenReadShouldRunInOrder() {
    with(
        RingConfig.of(8),
        ring -> {
          Memory.fill(buffer, BLOCK, (byte) 0x5a);
          SubmissionRing sq = ring.submission();
          assertTrue(sq.with(SubmissionRing.LINK).write(file.fd(), buffer, BLOCK, 0L, 0));
          assertTrue(sq.with(SubmissionRing.LINK).fdatasync(file.fd(), 1));
          assertTrue(sq.read(file.fd(), buffer + BLOCK, BLOCK, 0L, 2));
          int[] results = results(ring, 3);
          assertEquals(BLOCK, results[0]);
          assertEquals(0, results[1]);
          assertEquals(BLOCK, results[2]);
          assertTrue(Memory.equal(buffer, buffer + BLOCK, BLOCK));
        });
  }

  @Test
  void drainedRequestShouldWaitForAllBeforeIt() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          SubmissionRing sq = ring.submission();
          assertTrue(sq.read(pipe[0], buffer, 8, -1L, 10));
          assertTrue(sq.with(SubmissionRing.DRAIN).nop(11));
          assertEquals(2, ring.submit());
          assertEquals(-ETIME(), ring.submitAndWait(1, 20_000_000L));
          assertFalse(ring.completion().next());
          assertEquals(3, Files.write(pipe[1], buffer, 3));
          assertTrue(ring.submitAndWait(2, 5_000_000_000L) >= 0);
          assertTrue(ring.completion().next());
          assertEquals(10, ring.completion().userData());
          assertEquals(3, ring.completion().result());
          assertTrue(ring.completion().next());
          assertEquals(11, ring.completion().userData());
          closeAll(pipe);
        });
  }

  @Test
  void timeoutShouldEndByTimeByCountAndByRemoval() {
    with(
        RingConfig.of(8),
        ring -> {
          SubmissionRing sq = ring.submission();
          assertTrue(sq.timeout(timespec(1_000_000), 0, 0, 1));
          assertEquals(-ETIME(), one(ring, 1));
          assertTrue(sq.timeout(timespec(60_000_000_000L), 1, 0, 0));
          assertTrue(sq.nop(1));
          assertEquals(0, results(ring, 2)[0]);
          assertTrue(sq.timeout(timespec(60_000_000_000L), 0, 0, 0));
          assertTrue(sq.timeoutRemove(0, 1));
          int[] removed = results(ring, 2);
          assertEquals(-ECANCELED(), removed[0]);
          assertEquals(0, removed[1]);
          assertTrue(sq.timeoutRemove(12345, 3));
          assertEquals(-ENOENT(), one(ring, 3));
        });
  }

  @Test
  void linkTimeoutShouldCancelWhatTakesTooLong() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          assertTrue(ring.submission().with(SubmissionRing.LINK).read(pipe[0], buffer, 8, -1L, 0));
          assertTrue(ring.submission().linkTimeout(timespec(2_000_000), 0, 1));
          int[] results = results(ring, 2);
          assertTrue(results[0] == -ECANCELED() || results[0] == -EINTR(), "read: " + results[0]);
          assertEquals(-ETIME(), results[1]);
          closeAll(pipe);
        });
  }

  @Test
  void cancelShouldEndABlockedReadAndMissAFinishedOne() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          assertTrue(ring.submission().read(pipe[0], buffer, 8, -1L, 0));
          assertEquals(1, ring.submit());
          assertTrue(ring.submission().cancel(0, 1));
          int[] results = results(ring, 2);
          assertTrue(results[0] == -ECANCELED() || results[0] == -EINTR(), "read: " + results[0]);
          assertTrue(results[1] == 0 || results[1] == -EALREADY(), "cancel: " + results[1]);
          assertTrue(ring.submission().cancel(0, 2));
          assertEquals(-ENOENT(), one(ring, 2));
          closeAll(pipe);
        });
  }

  @Test
  void cancelRaceWithCompletionShouldAnswerBothExactlyOnce() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          for (int i = 0; i < 200; i++) {
            assertTrue(ring.submission().read(pipe[0], buffer, 1, -1L, 0));
            assertEquals(1, ring.submit());
            if (i % 2 == 0) {
              assertEquals(1, Files.write(pipe[1], buffer, 1));
            }
            assertTrue(ring.submission().cancel(0, 1));
            int[] results = results(ring, 2);
            boolean read = results[0] == 1;
            assertTrue(read || results[0] == -ECANCELED() || results[0] == -EINTR(), "read: " + results[0]);
            assertFalse(ring.completion().next());
            if (i % 2 == 0 && !read) {
              assertEquals(1, Files.read(pipe[0], buffer, 1));
            }
          }
          closeAll(pipe);
        });
  }

  @Test
  void cancelOfADescriptorShouldEndEveryRequestOnIt() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          for (int i = 0; i < 3; i++) {
            assertTrue(ring.submission().pollAdd(pipe[0], POLLIN(), i));
          }
          assertEquals(3, ring.submit());
          assertTrue(ring.submission().cancelFd(pipe[0], 3));
          int[] results = results(ring, 4);
          assertEquals(-ECANCELED(), results[0]);
          assertEquals(-ECANCELED(), results[2]);
          assertEquals(3, results[3]);
          closeAll(pipe);
        });
  }

  @Test
  void pollShouldTellWhenAPipeHasBytes() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          assertTrue(ring.submission().pollAdd(pipe[0], POLLIN(), 4));
          assertEquals(1, ring.submit());
          assertFalse(ring.completion().next());
          assertEquals(1, Files.write(pipe[1], buffer, 1));
          assertEquals(POLLIN(), one(ring, 4) & POLLIN());
          closeAll(pipe);
        });
  }

  @Test
  void fallocateShouldGrowPunchAndZero() {
    with(
        RingConfig.of(8),
        ring -> {
          SubmissionRing sq = ring.submission();
          assertTrue(sq.fallocate(file.fd(), 0, 0, 4L * BLOCK, 1));
          assertEquals(0, one(ring, 1));
          assertEquals(4L * BLOCK, Files.bytes(file.fd()));
          Memory.fill(buffer, 4 * BLOCK, (byte) 9);
          assertEquals(4 * BLOCK, Files.pwrite(file.fd(), buffer, 4 * BLOCK, 0));
          assertTrue(sq.fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE() | FALLOC_FL_KEEP_SIZE(), BLOCK, BLOCK, 0));
          assertTrue(sq.fallocate(file.fd(), FALLOC_FL_ZERO_RANGE() | FALLOC_FL_KEEP_SIZE(), 2L * BLOCK, BLOCK, 1));
          int[] results = results(ring, 2);
          assumeTrue(results[0] != -EOPNOTSUPP() && results[1] != -EOPNOTSUPP(), "the file system punches or zeroes no ranges");
          assertEquals(0, results[0]);
          assertEquals(0, results[1]);
          assertEquals(4 * BLOCK, Files.pread(file.fd(), buffer, 4 * BLOCK, 0));
          assertEquals(9, Memory.getByte(buffer));
          assertEquals(0, Memory.getLong(buffer + BLOCK));
          assertEquals(0, Memory.getLong(buffer + 2 * BLOCK));
          assertEquals(9, Memory.getByte(buffer + 3 * BLOCK));
        });
  }

  @Test
  void syncFileRangeAndFsyncShouldSucceedOnAFileAndFailOnAPipe() {
    with(
        RingConfig.of(8),
        ring -> {
          int[] pipe = pipe();
          assertEquals(BLOCK, Files.pwrite(file.fd(), buffer, BLOCK, 0));
          SubmissionRing sq = ring.submission();
          assertTrue(sq.syncFileRange(file.fd(), 0, BLOCK, SYNC_FILE_RANGE_WRITE(), 0));
          assertTrue(sq.fsync(file.fd(), 1));
          assertTrue(sq.fsync(pipe[1], 2));
          int[] results = results(ring, 3);
          assertEquals(0, results[0]);
          assertEquals(0, results[1]);
          assertEquals(-EINVAL(), results[2]);
          closeAll(pipe);
        });
  }

  @Test
  void readThatMustNotWaitShouldAnswerAgain() {
    int rwfNowait = 0x8; // preadv2(2)
    with(
        RingConfig.plain(8),
        ring -> {
          int[] pipe = pipe();
          assertTrue(ring.submission().prepare(IORING_OP_READ(), pipe[0], -1L, buffer, 8, rwfNowait, 0, 0, 0, 0L, 6));
          assertEquals(-EAGAIN(), one(ring, 6));
          closeAll(pipe);
        });
  }

  @Test
  void messageShouldArriveInTheOtherRing() {
    with(
        RingConfig.plain(8),
        ring ->
            with(
                RingConfig.plain(8),
                other -> {
                  assertTrue(ring.submission().message(other.fd(), 17, 0xfeedL, 1));
                  assertEquals(0, one(ring, 1));
                  assertTrue(other.completion().next());
                  assertEquals(0xfeedL, other.completion().userData());
                  assertEquals(17, other.completion().result());
                }));
  }

  @Test
  void eventFdShouldBecomeReadableWithACompletion() {
    with(
        RingConfig.plain(8),
        ring -> {
          int event = (int) Syscall.call(SYS_eventfd2(), 0, EFD_NONBLOCK() | EFD_CLOEXEC());
          assertEquals(0, ring.registerEventFd(event));
          assertEquals(-EAGAIN(), Files.read(event, buffer, 8));
          assertTrue(ring.submission().nop(1));
          assertEquals(0, one(ring, 1));
          assertEquals(8, Files.read(event, buffer, 8));
          assertEquals(0, ring.registerEventFd(-1));
          closeAll(event);
        });
  }

  @Test
  void probeShouldKnowWhatEveryKernelHasAndNothingBeyondTheLast() {
    with(
        RingConfig.plain(8),
        ring -> {
          Probe probe = Probe.of(ring);
          assertTrue(probe.supports(IORING_OP_NOP()));
          assertTrue(probe.supports(IORING_OP_WRITE_FIXED()));
          assertTrue(probe.supports(IORING_OP_FALLOCATE()));
          assertFalse(probe.supports(probe.lastOpcode() + 1));
        });
  }

  @Test
  void skippedSuccessShouldLeaveOnlyFailures() {
    with(
        RingConfig.of(8),
        ring -> {
          assumeTrue((ring.features() & IORING_FEAT_CQE_SKIP()) != 0, "the kernel has no IORING_FEAT_CQE_SKIP (5.17)");
          assertTrue(ring.submission().with(SubmissionRing.SKIP_SUCCESS).nop(1));
          assertTrue(ring.submission().with(SubmissionRing.SKIP_SUCCESS).read(9999, buffer, 1, 0L, 2));
          assertEquals(-EBADF(), one(ring, 2));
          assertFalse(ring.completion().next());
        });
  }

  @Test
  void disabledRingShouldTakeNothingUntilItIsEnabled() {
    with(
        RingConfig.plain(8).withFlags(RingConfig.DISABLED),
        ring -> {
          assertTrue(ring.submission().nop(1));
          assertEquals(-EBADFD(), ring.submit());
          assertEquals(0, ring.enable());
          assertEquals(0, one(ring, 1));
        });
  }

  @Test
  void singleIssuerShouldRefuseAnotherThread() throws Exception {
    try (Ring ring = Ring.create(RingConfig.of(8))) {
      assumeTrue((ring.flags() & RingConfig.SINGLE_ISSUER) != 0, "the kernel has no IORING_SETUP_SINGLE_ISSUER (6.0)");
      int[] result = new int[1];
      Thread other =
          new Thread(
              () -> {
                ring.submission().nop(1);
                result[0] = ring.submit();
              });
      other.start();
      other.join();
      assertEquals(-EEXIST(), result[0]);
    }
  }

  @Test
  void polledRingShouldSleepAndWakeUp() throws InterruptedException {
    with(
        RingConfig.polled(8, 1, -1),
        ring -> {
          for (int i = 0; i < 5; i++) {
            assertTrue(ring.submission().write(file.fd(), buffer, BLOCK, (long) i * BLOCK, i));
            assertEquals(BLOCK, one(ring, i));
            try {
              Thread.sleep(5);
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
          }
          assertEquals(0, ring.waitForSpace());
        });
  }

  @Test
  void setUpShouldNameCallAndErrorWhenTheKernelRefuses() {
    NativeException refused = assertThrows(NativeException.class, () -> Ring.create(RingConfig.plain(1 << 20)).close());
    assertEquals("io_uring_setup EINVAL", refused.call() + " " + refused.errnoName());
    with(RingConfig.plain(1 << 20).withFlags(RingConfig.CLAMP), ring -> assertEquals(32768, ring.submission().entries()));
  }

  @Test
  void closedRingShouldNotReachAnotherDescriptor() {
    Ring ring = Ring.create(RingConfig.plain(4));
    ring.close();
    ring.close();
    assertEquals(-1, ring.fd());
  }

  /**
   * A JVM does not fork without becoming a program, and that must get none of its rings: its requests would be ours. (What a process that has the descriptor
   * all the same may do is {@link #singleIssuerShouldRefuseAnotherThread}.)
   */
  @Test
  void programStartedWhileARingIsOpenShouldNotInheritIt() {
    for (RingConfig config : new RingConfig[] {RingConfig.of(4), RingConfig.plain(4), RingConfig.polled(4, 1, -1)}) {
      with(
          config,
          ring -> {
            assertTrue(textOf("readlink", "/proc/" + ProcessHandle.current().pid() + "/fd/" + ring.fd()).contains("[io_uring]"));
            String flags = textOf("sed", "-n", "s/^flags:\\t//p", "/proc/" + ProcessHandle.current().pid() + "/fdinfo/" + ring.fd());
            assertEquals(O_CLOEXEC(), Integer.parseInt(flags.strip(), 8) & O_CLOEXEC(), "closed by the kernel when a program takes a copy of this process over");
            String child = textOf("sh", "-c", "ls -l /proc/$$/fd; cat /proc/$$/maps");
            assertFalse(child.contains("io_uring"), child);
            assertTrue(ring.submission().nop(7));
            assertEquals(0, one(ring, 7));
          });
    }
  }

  private static String textOf(String... command) {
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertEquals(0, process.waitFor(), text);
      return text;
    } catch (IOException | InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void ioShouldAllocateNothing() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    with(
        RingConfig.of(64),
        ring -> {
          roundTrips(ring, 400_000); // until the compiled call keeps its carrier off the heap
          long before = threads.getCurrentThreadAllocatedBytes();
          roundTrips(ring, 1_000);
          long once = threads.getCurrentThreadAllocatedBytes() - before;
          before = threads.getCurrentThreadAllocatedBytes();
          roundTrips(ring, 20_000);
          long many = threads.getCurrentThreadAllocatedBytes() - before;
          // the query itself may allocate, a request must not
          assertTrue(many <= once + 1024, once + " bytes for 1,000 requests, " + many + " for 20,000");
        });
  }

  private void roundTrips(Ring ring, int count) {
    for (int i = 0; i < count; i += 16) {
      for (int j = 0; j < 16; j++) {
        if ((j & 1) == 0) {
          ring.submission().write(file.fd(), buffer, 512, j * 512L, UserData.pack(1, j, i));
        } else {
          ring.submission().nop(UserData.pack(2, j, i));
        }
      }
      ring.submitAndWait(16, 1_000_000_000L);
      int seen = 0;
      while (ring.completion().next()) {
        seen += UserData.kind(ring.completion().userData());
      }
      assertEquals(24, seen);
    }
  }
}
