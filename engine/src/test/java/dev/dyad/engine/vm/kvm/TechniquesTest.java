package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Techniques of the pause change what it costs, and nothing of what is found in it. */
class TechniquesTest {
  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  private static MicroVmConfig config(int vcpus, Techniques techniques) {
    return Rig.config(vcpus).withTracker(Tracker.RING).withTechniques(techniques);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2})
  void shouldCopyWhatThePauseSawWhileTheGuestWritesOn(int vcpus) {
    String unusable = CopyOnWrite.unusable();
    assumeTrue(unusable.isEmpty(), unusable);
    MicroVmConfig config = config(vcpus, Techniques.USUAL.withCopyOnWrite(true));
    try (Rig rig = new Rig(config, BuiltinGuest.of(GuestPattern.sequential(3000 / vcpus, 7)).withQuiet(true));
        Mapping truth = Mapping.anonymous(Rig.MEMORY);
        Mapping late = Mapping.anonymous(Rig.MEMORY);
        Mapping state = Mapping.anonymous(1 << 20)) {
      for (int epoch = 0; epoch < Rig.amount(100); epoch++) {
        long rounds = rig.guest.rounds(0);
        rig.primary.resume();
        Rig.await("a round", () -> rig.guest.rounds(0) > rounds + 1);
        rig.primary.pause();
        rig.dirty.clear();
        assertTrue(rig.primary.harvest(rig.dirty));
        rig.primary.copyPages(rig.dirty, truth.hostVirt());
        rig.primary.copyAtEnd(rig.dirty, late.hostVirt());
        rig.primary.captureState(state.hostVirt(), (int) state.bytes());
        rig.primary.resume();
        if (epoch % 2 == 0) {
          Thread.yield(); // the guest comes first, or the copies do
        }
        rig.primary.finishCopies();
        assertEquals(-1, Memory.mismatch(truth.hostVirt(), late.hostVirt(), rig.dirty.pageCount() * 4096), "byte that differs in epoch " + epoch);
        rig.primary.pause();
      }
      CopyOnWrite copies = rig.machine.copyOnWrite();
      assertNotNull(copies);
      assertTrue(copies.waits() > 0, "the guest never met a page that was not copied: nothing was shown");
      assertEquals("", rig.guest.fault());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2})
  void shouldHoldEveryPageWhileSomeStayWritable(int vcpus) {
    GuestPattern pattern = GuestPattern.random(1500 / vcpus, 9).withHot(80, 20);
    try (Rig rig = new Rig(config(vcpus, Techniques.USUAL.withHotPagesMax(64)), BuiltinGuest.of(pattern).withQuiet(true));
        Mapping replica = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      int most = 0;
      for (int epoch = 0; epoch < Rig.amount(300); epoch++) {
        long writes = rig.guest.writes(0);
        rig.primary.resume();
        Rig.await("some writes", () -> rig.guest.writes(0) > writes + 500);
        rig.seal();
        rig.apply(replica.hostVirt());
        assertEquals(-1, rig.firstDifference(replica.hostVirt()), "page that differs after epoch " + epoch);
        most = Math.max(most, ring(rig).hotPages());
      }
      assertTrue(most >= 20, "hot pages: " + most);
      assertEquals("", rig.guest.fault());
    }
  }

  /** That a page stays writable is what saves the faults: the kernel must not name it any more. */
  @Test
  void shouldHearNoMoreOfAPageThatStaysWritable() {
    GuestPattern pattern = GuestPattern.sequential(40, 9);
    try (Rig rig = new Rig(config(1, Techniques.USUAL.withHotPagesMax(4096)), BuiltinGuest.of(pattern).withQuiet(true))) {
      for (int epoch = 0; epoch < 30; epoch++) {
        long rounds = rig.guest.rounds(0);
        rig.primary.resume();
        Rig.await("a round", () -> rig.guest.rounds(0) > rounds + 1);
        rig.seal();
      }
      long entries = ring(rig).entries();
      for (int epoch = 0; epoch < 30; epoch++) {
        long rounds = rig.guest.rounds(0);
        rig.primary.resume();
        Rig.await("a round", () -> rig.guest.rounds(0) > rounds + 1);
        rig.seal();
        assertTrue(rig.dirty.pageCount() >= 40, "pages of an epoch: " + rig.dirty.pageCount());
      }
      assertTrue(ring(rig).entries() - entries < 30 * 10, "entries of the ring in 30 epochs of 40 pages: " + (ring(rig).entries() - entries));
    }
  }

  @Test
  void shouldProtectAgainWhatIsWrittenNoMore() {
    BuiltinGuest image = Rig.worker(60, false, 20_000_000, 3);
    try (Rig rig = new Rig(config(1, Techniques.USUAL.withHotPagesMax(64)), image);
        Mapping replica = Mapping.anonymous(Rig.MEMORY)) {
      rig.copyAll(replica.hostVirt());
      boolean hot = false;
      int idle = 0;
      while (idle < 400) {
        long rounds = rig.guest.rounds(0);
        rig.primary.resume();
        Rig.await("a round", () -> rig.guest.rounds(0) > rounds + 1 || rig.guest.isDone());
        idle += rig.guest.isDone() ? 1 : 0;
        rig.seal();
        rig.apply(replica.hostVirt());
        hot |= ring(rig).hotPages() > 0;
      }
      assertTrue(hot, "no page stayed writable while the guest worked");
      assertEquals(0, ring(rig).hotPages(), "pages that stay writable in a guest that rests");
      assertEquals(-1, rig.firstDifference(replica.hostVirt()));
    }
  }

  @Test
  void shouldCaptureTheSameOneAfterTheOther() {
    MicroVmConfig config = config(4, Techniques.USUAL.withParallelCapture(false));
    BuiltinGuest image = Rig.worker(200, true, 20_000, 5);
    long undisturbed = Rig.undisturbed(Rig.config(4), image);
    Replica replica = new Replica(config);
    try (Rig rig = new Rig(config, image)) {
      replica.baseline(sealed(rig));
      for (int epoch = 0; epoch < 20; epoch++) {
        rig.primary.resume();
        Thread.yield();
        rig.seal();
        replica.commit(rig);
      }
    }
    try (Rig rig = new Rig(replica.promote())) {
      Rig.await("the guest's end", rig.guest::isDone);
      assertEquals(undisturbed, rig.guest.checksum());
    }
    replica.close();
  }

  private static Rig sealed(Rig rig) {
    rig.seal();
    return rig;
  }

  private static RingTracker ring(Rig rig) {
    return assertInstanceOf(RingTracker.class, rig.machine.tracker());
  }
}
