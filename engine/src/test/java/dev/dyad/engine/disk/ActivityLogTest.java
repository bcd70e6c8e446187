package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.Arrays;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The bounded activity log and the metadata around it, over a device that can lose its power. */
class ActivityLogTest {
  private static final int BLOCK = 512;
  private static final int EXTENTS = 16;
  private static final int PLACES = 4;
  private static final DiskGeometry GEOMETRY = new DiskGeometry((long) EXTENTS * 64 * BLOCK, BLOCK, 64 * BLOCK, PLACES);

  private final DiskEvents events = new DiskEvents();
  private final SimDevice device = new SimDevice(GEOMETRY.metadataBytes(), new Random(1), events);
  private final BlockMap marks = new BlockMap(GEOMETRY.blocks(), GEOMETRY.blocksPerExtent());
  private DiskMetadata metadata;
  private ActivityLog log;

  ActivityLogTest() {
    DiskMetadata.format(device, GEOMETRY, 1, 2, Generations.first(9));
    metadata = open();
    log = metadata.activity();
  }

  @BeforeEach
  void shouldBeginEmpty() {
    assertEquals(0, log.active().length);
  }

  @AfterEach
  void close() {
    metadata.close();
    device.free();
  }

  private DiskMetadata open() {
    return open(device);
  }

  private DiskMetadata open(SimDevice from) {
    DiskMetadata opened = DiskMetadata.open(from, GEOMETRY.bytes(), block -> 0, geometry -> marks);
    opened.marks(marks::word);
    return opened;
  }

  private void reopen() {
    metadata.close();
    marks.clear();
    metadata = open();
    log = metadata.activity();
  }

  private void settle() {
    for (int i = 0; !metadata.isIdle(); i++) {
      metadata.poll();
      assertTrue(i < 10_000, "the metadata does not come to rest");
    }
  }

  private void activate(int... extents) {
    for (int extent : extents) {
      log.want(extent);
    }
    settle();
  }

  @Test
  void shouldBeActiveOnlyWhenTheRecordIsDurable() {
    log.want(3);
    assertFalse(log.isActive(3));
    while (!log.isActive(3)) {
      metadata.poll();
    }
    device.losePower();
    reopen();
    assertArrayEquals(new int[] {3}, log.active());
    assertEquals(64, marks.extentCount(3), "after a crash all of an active extent is marked");
  }

  /** The process dies between the write of a record and its flush, the next one finds the record and builds on it. */
  @Test
  void shouldMakeDurableWhatItFindsWhenItOpens() {
    int found = 0;
    for (long seed = 0; seed < 100; seed++) {
      SimDevice own = new SimDevice(GEOMETRY.metadataBytes(), new Random(seed), events);
      DiskMetadata.format(own, GEOMETRY, 1, 2, Generations.first(9));
      DiskMetadata first = open(own);
      first.activity().want(3);
      own.sleepPolls = Integer.MAX_VALUE;
      while (own.inFlight() == 0) {
        first.poll();
      }
      own.sleepPolls = 0;
      first.close();
      DiskMetadata second = open(own);
      boolean active = second.activity().isActive(3);
      found += active ? 1 : 0;
      own.losePower();
      second.close();
      DiskMetadata third = open(own);
      assertEquals(active, third.activity().isActive(3), "seed " + seed);
      third.close();
      own.free();
    }
    assertTrue(found > 20, "found " + found + " times");
  }

  @Test
  void shouldNotNameAnExtentWhoseRecordWasNotWritten() {
    activate(1);
    log.want(2);
    device.losePower();
    reopen();
    assertArrayEquals(new int[] {1}, log.active());
  }

  @Test
  void shouldGiveUpTheExtentThatWasUsedLongestAgo() {
    activate(0, 1, 2, 3);
    log.hold(0);
    log.letGo(0);
    activate(9);
    assertFalse(log.isActive(1), "used longest ago");
    assertTrue(log.isActive(0) && log.isActive(2) && log.isActive(3) && log.isActive(9));
  }

  @Test
  void shouldMakeTheBitsOfAnExtentDurableBeforeItLosesItsPlace() {
    activate(0, 1, 2, 3);
    marks.set(7, 2);
    activate(4);
    assertFalse(log.isActive(0));
    device.losePower();
    reopen();
    assertEquals(2, marks.extentCount(0));
    assertTrue(marks.get(7) && marks.get(8));
  }

  @Test
  void shouldMakeARequestWaitWhenEveryPlaceIsBeingWritten() {
    activate(0, 1, 2, 3);
    for (int extent = 0; extent < PLACES; extent++) {
      log.hold(extent);
    }
    log.want(5);
    assertEquals(0, log.stage());
    assertFalse(log.isActive(5));
    log.letGo(2);
    activate(5);
    assertTrue(log.isActive(5));
    assertFalse(log.isActive(2));
  }

  @Test
  void shouldNotLetTwoRequestsThatWaitTakeEachOthersPlaces() {
    activate(3, 6, 10, 12);
    log.hold(10);
    log.hold(12);
    for (int turn = 0; turn < 10; turn++) {
      log.askAnew();
      boolean older = log.ask(3, 4);
      boolean younger = log.ask(5, 6);
      if (older) {
        assertFalse(younger, "two places cannot hold four extents");
        return;
      }
      settle();
    }
    fail("neither gets both of its extents; active are " + Arrays.toString(log.active()));
  }

  @Test
  void shouldTakeTheOlderCopyWhenTheNewerIsTorn() {
    activate(0, 1);
    int newer = log.nextCopy(0);
    activate(2);
    long at = device.contents() + GEOMETRY.activityOffset(0, newer);
    Memory.fill(at + DiskGeometry.META_BLOCK / 2, DiskGeometry.META_BLOCK / 2, (byte) 0x5a);
    reopen();
    assertArrayEquals(new int[] {0, 1}, log.active());
  }

  @Test
  void shouldRefuseWhenBothCopiesOfAPageAreDamaged() {
    activate(0);
    for (int copy = 0; copy < 2; copy++) {
      long at = device.contents() + GEOMETRY.activityOffset(0, copy);
      Memory.putInt(at + 40, Memory.getInt(at + 40) ^ 1);
    }
    String why = refusal(GEOMETRY.bytes());
    assertTrue(why.contains("both copies of activity log page 0 are damaged"), why);
    assertTrue(why.contains("dyad disk reset"), why);
  }

  @Test
  void shouldRefuseAForeignBlock() {
    for (int copy = 0; copy < 2; copy++) {
      Memory.putInt(device.contents() + (long) copy * DiskGeometry.META_BLOCK, 0x12345678);
    }
    assertTrue(refusal(GEOMETRY.bytes()).contains("not a Dyad metadata file"), refusal(GEOMETRY.bytes()));
  }

  @Test
  void shouldRefuseADiskOfAnotherSize() {
    String why = refusal(GEOMETRY.bytes() / 2);
    assertTrue(why.contains("the image has " + GEOMETRY.bytes() / 2 + " bytes, its metadata is of one with " + GEOMETRY.bytes()), why);
  }

  @Test
  void shouldNotTakeAnotherPagesOrAnotherDisksRecord() {
    try (Mapping two = Mapping.anonymous(2L * DiskGeometry.META_BLOCK)) {
      long a = two.hostVirt();
      long b = a + DiskGeometry.META_BLOCK;
      DiskGeometry larger = new DiskGeometry(GEOMETRY.bytes() * 4, BLOCK, 64 * BLOCK, PLACES);
      ActivityLog other = new ActivityLog(larger);
      other.want(EXTENTS + 1);
      other.stage();
      other.encode(0, a);
      assertFalse(new ActivityLog(GEOMETRY).decode(0, a, b), "an extent beyond the end of this disk");
      assertTrue(new ActivityLog(larger).decode(0, a, b));
      DiskGeometry twoPages = new DiskGeometry(GEOMETRY.bytes(), BLOCK, 64 * BLOCK, 2 * DiskGeometry.ENTRIES_PER_PAGE);
      new ActivityLog(twoPages).encode(1, a);
      assertFalse(new ActivityLog(twoPages).decode(0, a, b), "page 1 in the place of page 0");
    }
  }

  private String refusal(long imageBytes) {
    return Objects.requireNonNull(
        assertThrows(DiskRefusedException.class, () -> DiskMetadata.open(device, imageBytes, block -> 0, geometry -> marks).close()).getMessage());
  }
}
