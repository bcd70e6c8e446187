package dev.dyad.engine.link;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Poll;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What every link keeps, whatever it runs over. */
@Timeout(60)
abstract class LinkContract {
  private static final long PATIENCE_NANOS = 10_000_000_000L;
  private static final long RING_BYTES = 1 << 16;
  private static final int CONTROL_BYTES = LinkEnd.CONTROL_BYTES;

  private final LinkPair.Kind kind;

  /** How often the ring is filled in one thread, and between two; and messages sent. A device is one of an emulated host, a hundred times slower. */
  private final int rings;

  private final int ringsBetweenThreads;
  private final int messages;
  private final Mapping scratch = Mapping.anonymous(Mapping.PAGE_BYTES);
  private LinkPair pair;
  private ReplicationLink sender;
  private ReplicaLink receiver;

  LinkContract(LinkPair.Kind kind) {
    this.kind = kind;
    boolean emulated = kind == LinkPair.Kind.RDMA_DEVICE;
    rings = emulated ? 4 : 40;
    ringsBetweenThreads = emulated ? 10 : 400;
    messages = emulated ? 2_000 : 100_000;
    pair = LinkPair.open(kind, RING_BYTES);
    sender = pair.sender();
    receiver = pair.receiver();
  }

  @BeforeEach
  void shouldStartUpAndEmpty() {
    assertTrue(sender.isUp() && receiver.isUp());
    assertEquals(0, receiver.received());
    assertEquals(0, sender.released());
    assertEquals("", sender.failure());
  }

  @AfterEach
  void close() {
    pair.close();
    scratch.close();
  }

  @Test
  void shouldCarryBytesInOrderAcrossTheEndOfTheRing() {
    SplittableRandom random = new SplittableRandom(1);
    long written = 0;
    long read = 0;
    while (read < rings * RING_BYTES) {
      long room = sender.released() + RING_BYTES - written;
      int chunk = (int) Math.min(room, random.nextInt(1, (int) RING_BYTES));
      write(written, chunk);
      written += chunk;
      sender.publish(written);
      sender.poll();
      receiver.poll();
      check(read, receiver.received());
      read = receiver.received();
      receiver.release(read - random.nextLong(0, Math.min(read, 1000) + 1));
      receiver.poll();
    }
  }

  @Test
  void shouldCarryOneByteAtATime() {
    for (int i = 0; i < 3000; i++) {
      write(i, 1);
      long position = i + 1L;
      sender.publish(position);
      until(() -> receiver.received() == position);
      receiver.release(position);
    }
    check(0, 3000);
    until(() -> sender.released() == 3000);
  }

  @Test
  void shouldHoldTheSenderBackUntilTheReceiverLetsGo() {
    write(0, (int) RING_BYTES);
    sender.publish(RING_BYTES);
    until(() -> receiver.received() == RING_BYTES);
    idle();
    assertEquals(0, sender.released());
    check(0, RING_BYTES);
    receiver.release(5000);
    until(() -> sender.released() == 5000);
    write(RING_BYTES, 5000);
    sender.publish(RING_BYTES + 5000);
    until(() -> receiver.received() == RING_BYTES + 5000);
    check(5000, RING_BYTES + 5000);
  }

  @Test
  void shouldTellEveryReleasedPositionSoonerOrLater() {
    write(0, 100);
    sender.publish(100);
    until(() -> receiver.received() == 100);
    receiver.release(7);
    until(() -> sender.released() == 7);
    receiver.release(100);
    until(() -> sender.released() == 100);
  }

  @Test
  void shouldNotTakeWhatWasNotPublished() {
    write(0, 1000);
    sender.publish(10);
    until(() -> receiver.received() == 10);
    idle();
    assertEquals(10, receiver.received());
  }

  @Test
  void shouldCarryControlMessagesInOrderAndRefuseWhatDoesNotFit() {
    int sent = 0;
    int taken = 0;
    int refused = 0;
    while (taken < messages) {
      while (sent < messages && receiver.sendControl(control(sent))) {
        sent++;
      }
      refused += sent < messages ? 1 : 0;
      receiver.poll();
      sender.poll();
      while (sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES)) {
        assertEquals(taken, Memory.getLong(scratch.hostVirt() + CONTROL_BYTES + 8));
        taken++;
      }
    }
    assertTrue(refused > 0, "no message was ever refused: the test does not reach the bound");
  }

  @Test
  void shouldNotLoseAControlMessageToASlowSender() {
    int sent = 0;
    while (sent < 10_000 && receiver.sendControl(control(sent))) {
      sent++;
      receiver.poll();
    }
    int awaited = sent;
    int[] taken = new int[1];
    BooleanSupplier allTaken =
        () -> {
          while (sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES)) {
            assertEquals(taken[0]++, Memory.getLong(scratch.hostVirt() + CONTROL_BYTES + 8));
          }
          return taken[0] >= awaited;
        };
    until(allTaken);
    idle();
    assertTrue(allTaken.getAsBoolean());
    assertEquals(awaited, taken[0]);
  }

  @Test
  void shouldKeepWhatArrivedWhenTheSenderIsGone() {
    write(0, 20_000);
    sender.publish(20_000);
    until(() -> receiver.received() >= 1);
    for (int i = 0; i < 100; i++) {
      sender.poll();
    }
    sender.close();
    until(() -> !receiver.isUp());
    assertEquals(20_000, receiver.received());
    check(0, 20_000);
    assertFalse(receiver.failure().isEmpty());
    receiver.release(20_000);
    assertEquals(0, receiver.poll());
    assertFalse(receiver.sendControl(control(1)));
  }

  @Test
  void shouldStillGiveTheLastControlMessagesWhenTheReceiverIsGone() {
    write(0, 30_000);
    sender.publish(30_000);
    until(() -> receiver.received() == 30_000);
    write(30_000, 10_000);
    sender.publish(40_000);
    sender.poll(); // what the receiver will not have read when it closes
    assertTrue(receiver.sendControl(control(1)));
    assertTrue(receiver.sendControl(control(2)));
    receiver.close();
    until(() -> !sender.isUp());
    assertTrue(sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES));
    assertTrue(sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES));
    assertEquals(2, Memory.getLong(scratch.hostVirt() + CONTROL_BYTES + 8));
    assertFalse(sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES));
    assertFalse(sender.failure().isEmpty());
  }

  @Test
  void shouldNoticeThatTheReceiverIsGoneWhileTheRingIsFull() {
    write(0, (int) RING_BYTES);
    sender.publish(RING_BYTES);
    until(() -> receiver.received() == RING_BYTES);
    receiver.close();
    until(() -> !sender.isUp());
    sender.publish(RING_BYTES);
    assertEquals(0, sender.poll());
  }

  @Test
  void shouldWakeASleepingReceiver() {
    idle();
    until(receiver::prepareToWait);
    assertEquals(0, Poll.once(receiver.pollFd(), receiver.pollEvents(), 20));
    write(0, 8);
    sender.publish(8);
    sender.poll();
    assertTrue(Poll.once(receiver.pollFd(), receiver.pollEvents(), 5000) > 0);
    until(() -> receiver.received() == 8);
  }

  @Test
  void shouldWakeASleepingSenderForRoomAndForControlMessages() {
    write(0, 8);
    sender.publish(8);
    until(() -> receiver.received() == 8);
    idle();
    until(sender::prepareToWait);
    receiver.release(8);
    receiver.poll();
    assertTrue(Poll.once(sender.pollFd(), sender.pollEvents(), 5000) > 0);
    until(() -> sender.released() == 8);
    idle();
    until(sender::prepareToWait);
    assertEquals(0, Poll.once(sender.pollFd(), sender.pollEvents(), 20));
    receiver.sendControl(control(3));
    assertTrue(Poll.once(sender.pollFd(), sender.pollEvents(), 5000) > 0);
    until(() -> sender.receiveControl(scratch.hostVirt() + CONTROL_BYTES));
  }

  @Test
  void shouldWakeASleeperWhenThePeerIsGone() {
    idle();
    until(receiver::prepareToWait);
    sender.close();
    assertTrue(Poll.once(receiver.pollFd(), receiver.pollEvents(), 5000) > 0);
    until(() -> !receiver.isUp());
  }

  @Test
  void shouldNotCallAFullReceiverToWork() {
    write(0, (int) RING_BYTES);
    sender.publish(RING_BYTES);
    until(() -> receiver.received() == RING_BYTES);
    idle();
    if (receiver.prepareToWait()) {
      assertEquals(0, Poll.once(receiver.pollFd(), receiver.pollEvents(), 20));
    }
  }

  @Test
  void shouldShowActivityOnlyWhenThePeerDidSomething() {
    idle();
    long before = receiver.activity();
    idle();
    assertEquals(before, receiver.activity());
    write(0, 8);
    sender.publish(8);
    until(() -> receiver.activity() != before);
    long heard = sender.activity();
    receiver.release(8);
    until(() -> sender.activity() != heard);
  }

  @Test
  void shouldLeaveNothingOpenWhateverStateItIsClosedIn() throws IOException {
    idle();
    long descriptors = descriptors();
    long mappings = sharedMappings();
    for (int state = 0; state < 6; state++) {
      LinkPair other = LinkPair.open(kind, RING_BYTES);
      if (state >= 1) {
        other.sender().publish(RING_BYTES);
        other.sender().poll();
      }
      if (state >= 2) {
        other.receiver().poll();
        other.receiver().sendControl(control(1));
      }
      if (state >= 3) {
        other.sender().prepareToWait();
        other.receiver().prepareToWait();
      }
      if (state == 4) {
        other.sender().close();
        other.receiver().poll();
      }
      if (state == 5) {
        other.receiver().close();
        other.sender().poll();
      }
      other.close();
      other.close();
      other.receiver().release(5);
      other.sender().publish(5);
      assertEquals(0, other.sender().poll() + other.receiver().poll());
      assertEquals(-1, other.sender().pollFd());
    }
    assertEquals(descriptors, descriptors());
    assertEquals(mappings, sharedMappings());
  }

  @Test
  void shouldCarryBytesBetweenTwoThreadsThatSleep() throws InterruptedException {
    long total = ringsBetweenThreads * RING_BYTES;
    AtomicReference<@Nullable Throwable> failed = new AtomicReference<>();
    Thread reading = Thread.ofPlatform().start(() -> {
      try {
        for (long read = 0; read < total; ) {
          receiver.poll();
          check(read, receiver.received());
          read = receiver.received();
          receiver.release(read);
          if (!receiver.isUp()) {
            return;
          }
          if (receiver.poll() == 0 && receiver.prepareToWait()) {
            Poll.once(receiver.pollFd(), receiver.pollEvents(), 2000);
          }
        }
      } catch (Throwable e) {
        failed.set(e);
      }
    });
    SplittableRandom random = new SplittableRandom(2);
    long written = 0;
    long deadline = System.nanoTime() + 3 * PATIENCE_NANOS; // a lost bell costs 2 s each time
    while (written < total && failed.get() == null && System.nanoTime() - deadline < 0) {
      int chunk = (int) Math.min(total - written, random.nextInt(1, 20_000));
      while (sender.released() + RING_BYTES - written < chunk && failed.get() == null) {
        if (sender.poll() == 0 && sender.prepareToWait()) {
          Poll.once(sender.pollFd(), sender.pollEvents(), 2000);
        }
      }
      write(written, chunk);
      written += chunk;
      sender.publish(written);
      sender.poll();
    }
    assertTrue(written == total || failed.get() != null, "not all bytes were carried in 30 s");
    while (reading.isAlive()) {
      sender.poll();
    }
    reading.join();
    if (failed.get() != null) {
      fail(failed.get());
    }
  }

  // ---- bytes that know their position

  private void write(long position, int bytes) {
    for (long at = position; at < position + bytes; at++) {
      Memory.putByte(sender.ring().address(at), content(at));
    }
  }

  private void check(long from, long to) {
    for (long at = from; at < to; at++) {
      if (Memory.getByte(receiver.ring().address(at)) != content(at)) {
        fail("wrong byte at position " + at);
      }
    }
  }

  private static byte content(long position) {
    return (byte) ((position * 0x9e3779b97f4a7c15L) >>> 56);
  }

  private long control(long number) {
    Memory.putLong(scratch.hostVirt(), 0x1234);
    Memory.putLong(scratch.hostVirt() + 8, number);
    return scratch.hostVirt();
  }

  private void until(BooleanSupplier condition) {
    long deadline = System.nanoTime() + PATIENCE_NANOS;
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() - deadline < 0, "nothing came of it in 10 s");
      sender.poll();
      receiver.poll();
    }
  }

  private void idle() {
    for (int calm = 0; calm < 20; calm++) {
      if (sender.poll() + receiver.poll() > 0) {
        calm = 0;
      }
    }
  }

  private static long descriptors() throws IOException {
    try (var list = Files.list(Path.of("/proc/self/fd"))) {
      return list.count();
    }
  }

  private static long sharedMappings() throws IOException {
    try (var lines = Files.lines(Path.of("/proc/self/maps"))) {
      return lines.filter(line -> line.contains("dyad-")).count();
    }
  }
}
