package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.LinkPair;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.SealFrame;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.EnumSource;

/** Writer and reader of the memory channel against each other, over every link. */
@ParameterizedClass
@EnumSource(LinkPair.Kind.class)
@Timeout(60)
class EpochChannelTest {
  private static final long GENERATION = 5;
  private static final long PATIENCE_NANOS = 10_000_000_000L;
  private static final long RING_BYTES = 1 << 16;
  private static final long EPOCH_BYTES_MAX = 1 << 20;
  private static final int PAGE = TestMemory.PAGE;

  private final TestMemory memory = new TestMemory();
  private final LastSent lastSent = new LastSent(32 * PAGE);
  private final Recorder primary = new Recorder();
  private final Recorder standby = new Recorder();
  private final LinkPair link;
  private final EpochWriter writer;
  private final EpochReader reader;

  EpochChannelTest(LinkPair.Kind kind) {
    link = LinkPair.open(kind, RING_BYTES);
    writer = new EpochWriter(link.sender(), lastSent, GENERATION, 8192, primary);
    reader = new EpochReader(link.receiver(), GENERATION, EPOCH_BYTES_MAX, 1 << 16, standby);
  }

  @AfterEach
  void close() {
    writer.close();
    reader.close();
    link.close();
    lastSent.close();
    memory.close();
  }

  @Test
  void shouldKeepTheStandbyEqualOverManyEpochs() {
    SplittableRandom random = new SplittableRandom(11);
    start();
    for (int epoch = 2; epoch < 1500; epoch++) {
      memory.run(random);
      epoch(epoch, 100);
      if (random.nextInt(3) == 0) {
        apply(epoch);
        assertEquals(-1, memory.difference(), "epoch " + epoch);
        assertEquals(epoch, reader.appliedEpoch());
      }
    }
    assertEquals(Reason.NONE, standby.refused);
  }

  @Test
  void shouldTellTheStoryInItsOrder() {
    start();
    epoch(2, 4000);
    until(() -> writer.heartbeat(99));
    until(() -> standby.events.contains("heartbeat 99"));
    reader.echo(99);
    reader.acknowledge(2, 1002);
    until(() -> primary.events.contains("echoed 99"));
    until(() -> writer.bye(Reason.DETACHED, 0, 0));
    until(() -> standby.events.contains("bye DETACHED"));
    apply(2);
    until(writer::delivered);
    assertEquals(
        List.of("machine 1 5", "memory " + memory.pages, "baseline 1 1001 100", "whole 2 1002 4000", "heartbeat 99", "bye DETACHED"), standby.events);
    assertTrue(primary.events.containsAll(List.of("ready", "echoed 99", "acknowledged 2 1002")), primary.events.toString());
  }

  @Test
  void shouldApplyNothingOfAnEpochBeforeItsSealAndAnythingOnlyWhenTold() {
    start();
    byte[] before = memory.standbyBytes();
    writePages(2, 1, 7);
    writer.begin(2, false);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(writer::shipPages);
    idle();
    assertTrue(reader.apply(Long.MAX_VALUE, Long.MAX_VALUE));
    assertArrayEquals(before, memory.standbyBytes());
    until(() -> writer.seal(0, 0));
    until(() -> standby.whole == 2);
    assertArrayEquals(before, memory.standbyBytes());
    apply(2);
    assertEquals(-1, memory.difference());
  }

  @Test
  void shouldThrowAwayATornEpochWhenTheLinkIsLostAndApplyTheWholeOnes() {
    start();
    writePages(4, 3, 1);
    epoch(2, 0);
    byte[] guest = new byte[memory.pages * PAGE];
    Memory.copyTo(memory.guest.hostVirt(), guest, 0, guest.length);
    writePages(9, 5, 2);
    writer.begin(3, false);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(writer::shipPages);
    link.sender().close();
    while (link.receiver().isUp()) {
      reader.poll();
    }
    reader.poll();
    apply(Long.MAX_VALUE);
    assertEquals(2, reader.appliedEpoch());
    Memory.copyFrom(guest, 0, memory.guest.hostVirt(), guest.length);
    assertEquals(-1, memory.difference());
  }

  @Test
  void shouldHoldSeveralWholeEpochsAndApplyThemInOrderAndInSteps() {
    start();
    for (int epoch = 2; epoch < 6; epoch++) {
      writePages(epoch, 1, epoch);
      epoch(epoch, epoch);
    }
    assertEquals(4, reader.waiting());
    int steps = 1;
    while (!reader.apply(4, 1)) {
      assertFalse(reader.replicaIsWhole() && reader.appliedEpoch() >= 4);
      steps++;
    }
    assertTrue(steps >= 3, steps + " steps");
    assertEquals(4, reader.appliedEpoch());
    assertEquals(1, reader.waiting());
    apply(5);
    assertEquals(5, reader.appliedStateBytes());
    assertEquals(-1, memory.difference());
  }

  @Test
  void shouldTakeAnEpochThatIsLargerThanTheRing() {
    start();
    for (int epoch = 2; epoch < 8; epoch++) {
      writePages(0, memory.pages, epoch); // 260 KiB through a ring of 64
      epoch(epoch, 0);
      apply(epoch);
      assertEquals(-1, memory.difference());
    }
  }

  @Test
  void shouldTakeALargeEpochBehindOneThatWaits() {
    start();
    writePages(3, 2, 40);
    epoch(2, 0);
    writePages(0, memory.pages, 41);
    writer.begin(3, false);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    for (int i = 0; i < 100; i++) {
      writer.shipPages();
      poll();
    }
    assertFalse(writer.shipPages(), "the ring is full while epoch 2 waits");
    apply(2);
    until(writer::shipPages);
    until(() -> writer.seal(0, 0));
    until(() -> standby.whole == 3);
    apply(3);
    assertEquals(-1, memory.difference());
  }

  @Test
  void shouldRefuseAnEpochThatIsLargerThanItsBound() {
    start();
    byte[] before = memory.standbyBytes();
    writer.begin(2, false);
    for (int i = 0; i < 10 && standby.refused == Reason.NONE; i++) {
      writePages(0, memory.pages, 60 + i);
      writer.startPages(memory.dirty, memory.copies.hostVirt());
      while (standby.refused == Reason.NONE && !writer.shipPages()) {
        poll();
      }
    }
    assertEquals(Reason.EPOCH_BYTES, standby.refused);
    assertArrayEquals(before, memory.standbyBytes());
    assertEquals(1, reader.appliedEpoch());
    until(() -> primary.events.contains("told EPOCH_BYTES"));
  }

  @Test
  void shouldNotLookAtPagesBeforeTheMachineIsBuilt() {
    until(() -> writer.sendMemory(memory.layout));
    until(() -> standby.memory != null);
    memory.all();
    writer.begin(1, true);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    for (int i = 0; i < 50; i++) {
      writer.shipPages();
      poll();
    }
    assertEquals(Reason.NONE, standby.refused);
    reader.attach(memory.replica());
    until(writer::shipPages);
    until(() -> writer.seal(0, 0));
    until(() -> standby.whole == 1);
  }

  @Test
  void shouldNotAttachAReplicaOfAnotherLayout() {
    until(() -> writer.sendMemory(memory.layout));
    until(() -> standby.memory != null);
    GuestMemory other = GuestMemory.builder().block("pc.ram", 57 * PAGE).build(8 * PAGE);
    assertThrows(IllegalArgumentException.class, () -> reader.attach(new Replica(other, new long[2])));
  }

  @Test
  void shouldRefusePagesWithoutMemoryABaselineTwiceAndAnEpochOutOfOrder() {
    start();
    memory.dirty.clear();
    writePages(1, 1, 5);
    writer.begin(7, false);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(writer::shipPages);
    until(() -> standby.refused == Reason.EPOCH);
    assertTrue(standby.events.getLast().contains("a frame of epoch 7 came where epoch 2 was due"), standby.events.toString());
  }

  @Test
  void shouldRefuseASecondBaseline() {
    start();
    byte[] before = memory.standbyBytes();
    writePages(1, 1, 5);
    writer.begin(2, true);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(writer::shipPages);
    until(() -> standby.refused == Reason.BASELINE);
    assertArrayEquals(before, memory.standbyBytes());
  }

  @Test
  void shouldRefuseWhatTheSealDoesNotSay() {
    start();
    long[][] wrong = {{1, 0, 0}, {0, 8, 0}, {0, 0, 1}};
    Reason[] reasons = {Reason.SEAL_PAGES, Reason.SEAL_BYTES, Reason.SEAL_FRAMES};
    for (int i = 0; i < wrong.length; i++) {
      EpochTotals totals = new EpochTotals();
      Memory.zero(memory.copies.hostVirt(), PAGE);
      PagesFrame.write(memory.copies.hostVirt(), 0, PagesFrame.BASELINE);
      assertEquals(Reason.NONE, totals.add(4, memory.copies.hostVirt(), 800, 3));
      SealFrame.write(memory.copies.hostVirt(), 3 + wrong[i][0], 800 + wrong[i][1], 1 + wrong[i][2], 0, 0, PagesFrame.BASELINE);
      assertEquals(reasons[i], totals.seal(4, memory.copies.hostVirt(), SealFrame.BYTES, PAGE));
    }
  }

  @Test
  void shouldRefuseMoreStateThanItsBlockHolds() {
    start();
    writer.begin(2, false);
    until(() -> writer.seal(8 * PAGE + 1, 0));
    until(() -> standby.refused == Reason.STATE_BYTES);
  }

  @Test
  void shouldRefuseADamagedFrameOfAnyKindAndLeaveTheReplicaAlone() {
    start();
    byte[] before = memory.standbyBytes();
    long position = writer.writtenBytes();
    writer.begin(2, false);
    assertTrue(link.sender().released() <= position);
    long frame = link.sender().ring().address(position);
    Crc32c crc = new Crc32c(link.sender().ring().baseVirt(), 2 * RING_BYTES);
    PagesFrame.write(FrameHeader.payload(frame), 1, 0);
    Memory.putLong(FrameHeader.payload(frame) + PagesFrame.BYTES, PageRecord.word(memory.pages, PageRecord.ZERO, 1));
    // machine, memory, baseline's pages and seal, ready: the reader knows how many frames there were
    long sequence = 0;
    for (long at = 0; at < position; ) {
      at += FrameHeader.BYTES + FrameHeader.length(link.sender().ring().address(at));
      sequence++;
      if (position > RING_BYTES) {
        sequence = FrameHeader.sequence(lastFrame(position)) + 1;
        break;
      }
    }
    FrameHeader.write(frame, FrameType.PAGES, 16, GENERATION, 2, sequence);
    FrameHeader.close(frame, crc);
    link.sender().publish(position + FrameHeader.BYTES + 16);
    until(() -> standby.refused != Reason.NONE);
    assertEquals(Reason.PAGE_OUTSIDE, standby.refused);
    assertArrayEquals(before, memory.standbyBytes());
  }

  /** The baseline's seal, which ends at {@code position}. */
  private long lastFrame(long position) {
    return link.sender().ring().address(position - FrameHeader.BYTES - SealFrame.BYTES);
  }

  // ---- helpers

  private void start() {
    until(() -> writer.sendMachine(1, new byte[] {1, 2, 3, 4, 5}));
    until(() -> writer.sendMemory(memory.layout));
    until(() -> standby.memory != null);
    reader.attach(memory.replica());
    reader.ready();
    memory.run(new SplittableRandom(1));
    memory.all();
    writer.begin(1, true);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(writer::shipPages);
    until(() -> writer.seal(100, 1001));
    until(() -> standby.whole == 1);
    assertFalse(reader.replicaIsWhole());
    apply(1);
    assertTrue(reader.replicaIsWhole());
    assertEquals(-1, memory.difference());
  }

  private void epoch(long number, int stateBytes) {
    writer.begin(number, false);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    until(() -> writer.shipPages() || makeRoom());
    until(() -> writer.seal(stateBytes, 1000 + number));
    until(() -> standby.whole == number || makeRoom());
  }

  /** Applies what waits if it fills the ring. */
  private boolean makeRoom() {
    if (writer.inFlightBytes() > RING_BYTES / 2 && reader.waiting() > 0) {
      apply(standby.whole);
    }
    return false;
  }

  private void apply(long epoch) {
    while (!reader.apply(epoch, 10_000)) {}
  }

  private void writePages(int first, int count, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    for (long at = memory.guestVirt(first); at < memory.guestVirt(first + count); at += 8) {
      Memory.putLong(at, random.nextLong());
    }
    memory.dirty.clear();
    memory.dirty.add(first, count);
    memory.copy();
  }

  private void poll() {
    writer.poll();
    reader.poll();
  }

  private void idle() {
    for (int i = 0; i < 50; i++) {
      poll();
    }
  }

  private void until(BooleanSupplier condition) {
    long deadline = System.nanoTime() + PATIENCE_NANOS;
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() - deadline < 0, "nothing came of it in 10 s");
      poll();
    }
  }
}
