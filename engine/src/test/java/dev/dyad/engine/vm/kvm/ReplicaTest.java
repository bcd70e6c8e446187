package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** After each epoch the replica's memory is, byte by byte, that of the sealed guest. */
class ReplicaTest {

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @ParameterizedTest
  @CsvSource({
    "RING, 1, 700", "RING, 2, 400", "RING, 4, 200", "RING, 8, 100",
    "LOG, 1, 300", "LOG, 2, 200", "LOG, 4, 100", "LOG, 8, 50",
  })
  void shouldHoldEveryPageOfEveryEpoch(Tracker tracker, int vcpus, int epochs) {
    SplittableRandom random = new SplittableRandom(vcpus);
    MicroVmConfig config = Rig.config(vcpus).withTracker(tracker);
    int left = Rig.amount(epochs);
    while (left > 0) {
      GuestPattern pattern = pattern(random, vcpus);
      int part = Math.min(left, 50);
      try (Rig rig = new Rig(config, BuiltinGuest.of(pattern).withQuiet(true));
          Mapping replica = Mapping.anonymous(Rig.MEMORY)) {
        rig.copyAll(replica.hostVirt());
        long pages = 0;
        for (int epoch = 0; epoch < part; epoch++) {
          rig.primary.resume();
          sleepMicros(random.nextInt(1500));
          rig.seal();
          rig.apply(replica.hostVirt());
          pages += rig.dirty.pageCount();
          assertEquals(-1, rig.firstDifference(replica.hostVirt()), "page that differs after epoch " + epoch + " of " + pattern);
        }
        assertTrue(pages > 0, pattern.toString());
        assertEquals("", rig.guest.fault());
      }
      left -= part;
    }
  }

  private static GuestPattern pattern(SplittableRandom random, int vcpus) {
    long pages = 1 + random.nextLong(4000 / vcpus);
    GuestPattern pattern = random.nextBoolean() ? GuestPattern.random(pages, random.nextLong()) : GuestPattern.sequential(pages, random.nextLong());
    if (random.nextInt(3) == 0) {
      pattern = pattern.withHot(random.nextInt(1, 100), 1 + random.nextLong(pages));
    }
    return random.nextInt(3) == 0 ? pattern.withWritesPerTick(1 + random.nextLong(500)) : pattern;
  }

  private static void sleepMicros(int micros) {
    long end = System.nanoTime() + micros * 1000L;
    while (System.nanoTime() < end) {
      Thread.onSpinWait();
      if (micros > 300) {
        Thread.yield();
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1", "4"})
  void shouldLoseNothingWhenTheRingIsFull(int vcpus) {
    MicroVmConfig config = Rig.config(vcpus).withTracker(Tracker.RING).withRingEntries(1024);
    try (Rig rig = new Rig(config, BuiltinGuest.of(GuestPattern.random(4_000 / vcpus, 5)).withQuiet(true));
        Mapping replica = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      for (int epoch = 0; epoch < Rig.amount(20); epoch++) {
        long full = rig.machine.ringFullCount();
        rig.primary.resume();
        Rig.await("a full ring", () -> rig.machine.ringFullCount() > full);
        rig.seal();
        rig.apply(replica.hostVirt());
        assertEquals(-1, rig.firstDifference(replica.hostVirt()), "page that differs after epoch " + epoch);
      }
    }
  }

  @Test
  void shouldKeepForTheNextHarvestWhatDidNotFit() {
    try (Rig rig = new Rig(Rig.config(1), BuiltinGuest.of(GuestPattern.random(3000, 5)).withQuiet(true));
        Mapping replica = Mapping.anonymous(Rig.MEMORY);
        Mapping copies = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      DirtyPages few = new DirtyPages(37);
      for (int epoch = 0; epoch < Rig.amount(10); epoch++) {
        rig.primary.resume();
        sleepMicros(2000);
        rig.primary.pause();
        boolean complete;
        do {
          few.clear();
          complete = rig.primary.harvest(few);
          rig.primary.copyPages(few, copies.hostVirt());
          long from = copies.hostVirt();
          for (int i = 0; i < few.runCount(); i++) {
            long bytes = DirtyPages.pageCount(few.run(i)) * 4096L;
            Memory.copy(from, replica.hostVirt() + DirtyPages.firstPage(few.run(i)) * 4096, bytes);
            from += bytes;
          }
        } while (!complete);
        assertEquals(-1, rig.firstDifference(replica.hostVirt()), "page that differs after epoch " + epoch);
      }
    }
  }

  /** Pages that are shipped while the guest runs, and written again afterwards, come again. */
  @ParameterizedTest
  @CsvSource({"RING", "LOG"})
  void shouldReportAgainWhatIsWrittenAfterASpeculativeCopy(Tracker tracker) {
    try (Rig rig = new Rig(Rig.config(2).withTracker(tracker), BuiltinGuest.of(GuestPattern.random(300, 5)).withQuiet(true));
        Mapping replica = Mapping.anonymous(Rig.MEMORY);
        Mapping copies = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      DirtyPages early = new DirtyPages(1 << 14);
      for (int epoch = 0; epoch < Rig.amount(50); epoch++) {
        rig.primary.resume();
        for (int scan = 0; scan < 3; scan++) {
          early.clear();
          assertTrue(rig.primary.harvest(early));
          rig.primary.copyPages(early, copies.hostVirt());
          long from = copies.hostVirt();
          for (int i = 0; i < early.runCount(); i++) {
            long bytes = DirtyPages.pageCount(early.run(i)) * 4096L;
            Memory.copy(from, replica.hostVirt() + DirtyPages.firstPage(early.run(i)) * 4096, bytes);
            from += bytes;
          }
        }
        rig.seal();
        rig.apply(replica.hostVirt());
        assertEquals(-1, rig.firstDifference(replica.hostVirt()), "page that differs after epoch " + epoch);
      }
    }
  }

  /** A tracker that loses one page must not pass. */
  @Test
  void shouldDetectADroppedPage() {
    try (Rig rig = new Rig(Rig.config(1), BuiltinGuest.of(GuestPattern.random(200, 5)).withQuiet(true));
        Mapping replica = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      rig.primary.resume();
      Rig.await("some work", () -> rig.guest.writes(0) > 500);
      rig.seal();
      long dropped = rig.firstDifference(replica.hostVirt());
      assertNotEquals(-1, dropped);
      byte[] before = new byte[4096];
      Memory.copyTo(replica.hostVirt() + dropped * 4096, before, 0, 4096);
      rig.apply(replica.hostVirt());
      Memory.copyFrom(before, 0, replica.hostVirt() + dropped * 4096, 4096);
      assertEquals(dropped, rig.firstDifference(replica.hostVirt()));
    }
  }

  @Test
  void shouldFindTheSamePagesWithBothTrackers() {
    long[] ring = pagesOfARun(Tracker.RING);
    long[] log = pagesOfARun(Tracker.LOG);
    assertNotEquals(0, ring.length);
    assertEquals(java.util.Arrays.toString(ring), java.util.Arrays.toString(log));
  }

  /** All pages that a guest writes from its start to its end, deterministic but for what the time of day decides. */
  private static long[] pagesOfARun(Tracker tracker) {
    BuiltinGuest image = Rig.worker(800, true, 1500, 11).withTimer(BuiltinGuest.Timer.OFF, 0);
    try (Rig rig = new Rig(Rig.config(2).withTracker(tracker), image)) {
      rig.primary.resume();
      Rig.await("the guest's end", rig.guest::isDone);
      rig.seal();
      java.util.TreeSet<Long> pages = new java.util.TreeSet<>();
      for (int i = 0; i < rig.dirty.runCount(); i++) {
        for (int j = 0; j < DirtyPages.pageCount(rig.dirty.run(i)); j++) {
          pages.add(DirtyPages.firstPage(rig.dirty.run(i)) + j);
        }
      }
      return pages.stream().mapToLong(Long::longValue).toArray();
    }
  }
}
