package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest.Timer;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.vm.kvm.VcpuState.Part;
import java.util.Arrays;
import java.util.OptionalLong;
import java.util.SplittableRandom;
import java.util.function.LongConsumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** A guest that goes on from the last whole epoch ends as one that nobody disturbed. */
class ResumeTest {

  /** Where in an epoch the primary dies. */
  private enum Phase {
    RUNNING,
    PAUSED,
    HARVESTED,
    SEALED,
    COMMITTED,
    RESUMED
  }

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @ParameterizedTest
  @CsvSource({"1, PERIODIC, 24", "2, DEADLINE, 12", "4, PERIODIC, 12", "8, DEADLINE, 6"})
  void shouldEndAsIfNothingHadHappenedHoweverOftenItIsKilled(int vcpus, Timer timer, int usualKills) {
    int kills = Rig.amount(usualKills);
    SplittableRandom random = new SplittableRandom(17 + vcpus);
    MicroVmConfig config = Rig.config(vcpus);
    // Paced by ticks: a clock that dies on the way stops the guest for good.
    GuestPattern pattern = GuestPattern.random(400, 9).withWritesPerTick(400).withStopAfter(400L * kills * 4);
    BuiltinGuest image = BuiltinGuest.of(pattern).withQuiet(true).withTimer(timer, timer == Timer.DEADLINE ? 6_000_000 : 3_000_000);
    long expected = Rig.undisturbed(config, image);
    Rig rig = new Rig(config, image);
    rig.seal();
    try {
      for (int kill = 0; kill < kills; kill++) {
        long ticks = rig.guest.ticks(0);
        try (Replica replica = new Replica(config)) {
          replica.baseline(rig);
          runAndKill(rig, replica, Phase.values()[kill % Phase.values().length], random);
          rig.close();
          MicroVm next = replica.promote();
          rig = new Rig(next);
          assertTrue(rig.guest.ticks(0) >= ticks, "time went back from " + ticks + " to " + rig.guest.ticks(0));
          rig.primary.pause();
          rig.primary.startTracking();
          rig.seal();
        }
      }
      rig.primary.resume();
      Rig current = rig;
      Rig.await("the guest's end", () -> current.guest.isDone() || current.machine.power() != PowerState.ON);
      assertEquals("", rig.guest.fault());
      assertEquals(expected, rig.guest.checksum());
    } finally {
      rig.close();
    }
  }

  /** Some epochs, of which the last gets as far as {@code phase}. */
  private static void runAndKill(Rig rig, Replica replica, Phase phase, SplittableRandom random) {
    for (int whole = random.nextInt(4); whole > 0; whole--) {
      rig.primary.resume();
      sleepMicros(random.nextInt(5_000));
      rig.seal();
      replica.commit(rig);
    }
    rig.primary.resume();
    sleepMicros(random.nextInt(5_000));
    switch (phase) {
      case RUNNING -> { }
      case PAUSED -> rig.primary.pause();
      case HARVESTED -> {
        rig.primary.pause();
        rig.dirty.clear();
        rig.primary.harvest(rig.dirty);
      }
      case SEALED -> rig.seal();
      case COMMITTED -> {
        rig.seal();
        replica.commit(rig);
      }
      case RESUMED -> {
        rig.seal();
        replica.commit(rig);
        rig.primary.resume();
        sleepMicros(random.nextInt(3_000));
      }
    }
  }

  private static void sleepMicros(int micros) {
    try {
      Thread.sleep(micros / 1000, micros % 1000 * 1000);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  // ---- faults that must show ----

  /**
   * Goes on with a guest on another machine, its memory harmed, and only these parts of its registers restored in this order; the
   * guest's checksum, or 0 when it does not come to its end.
   */
  private static long resumeWith(BuiltinGuest image, LongConsumer harmToMemory, Part... order) {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      OptionalLong found = resumeEarly(image, harmToMemory, order);
      if (found.isPresent()) {
        return found.getAsLong();
      }
    }
    throw new AssertionError("in " + ATTEMPTS + " guests the clock ran ahead of the work");
  }

  /** The same; nothing when the guest's clock has run ahead of its work: it would come to its end without a further tick, whatever was restored. */
  private static OptionalLong resumeEarly(BuiltinGuest image, LongConsumer harmToMemory, Part... order) {
    MicroVmConfig config = Rig.config(1);
    try (Rig rig = new Rig(config, image);
        MicroVm next = new MicroVm(config, c -> {}, MachineListener.NONE)) {
      rig.primary.resume();
      Rig.await("some work", () -> rig.guest.writes(0) > 500);
      rig.seal();
      while (interruptIsUnderWay(rig)) {
        rig.primary.resume();
        sleepMicros(700);
        rig.seal();
      }
      if ((rig.guest.ticks(0) + 1) * image.pattern().writesPerTick() >= image.pattern().stopAfter()) {
        return OptionalLong.empty();
      }
      rig.copyAll(next.ram().hostVirt());
      harmToMemory.accept(next.ram().hostVirt());
      next.restore(rig.stateVirt(), rig.stateBytes, order);
      next.resume();
      BuiltinGuestStatus status = new BuiltinGuestStatus(next.ram().hostVirt(), 1);
      long writes = 0;
      long stillUntil = 0;
      while (!status.isDone() && next.power() == PowerState.ON) {
        sleepMicros(1000);
        if (status.writes(0) != writes) {
          writes = status.writes(0);
          stillUntil = System.nanoTime() + Rig.patient(STILL_NS);
        } else if (System.nanoTime() > stillUntil) {
          return OptionalLong.of(0);
        }
      }
      return OptionalLong.of(status.isDone() ? status.checksum() : 0);
    }
  }

  /** With an interrupt pending or being handled the guest would set its timer anew by itself, whatever was restored. */
  private static boolean interruptIsUnderWay(Rig rig) {
    StateLayout layout = rig.machine.layout();
    long lapic = rig.stateVirt() + layout.vcpu(0) + layout.lapic;
    for (int word = 0; word < 8; word++) {
      if (Memory.getInt(lapic + LAPIC_ISR + 16L * word) != 0 || Memory.getInt(lapic + LAPIC_IRR + 16L * word) != 0) {
        return true;
      }
    }
    return false;
  }

  private static final int ATTEMPTS = 10;
  private static final int LAPIC_ISR = 0x100;
  private static final int LAPIC_IRR = 0x200;
  private static final long STILL_NS = 1_000_000_000;

  private static BuiltinGuest paced(Timer timer) {
    GuestPattern pattern = GuestPattern.random(200, 21).withWritesPerTick(200).withStopAfter(8_000);
    return BuiltinGuest.of(pattern).withQuiet(true).withTimer(timer, timer == Timer.DEADLINE ? 6_000_000 : 3_000_000);
  }

  private static Part[] without(Part skipped) {
    return Arrays.stream(Part.values()).filter(part -> part != skipped).toArray(Part[]::new);
  }

  @ParameterizedTest
  @EnumSource(names = {"PERIODIC", "DEADLINE"})
  void shouldShowAResumeThatIsRight(Timer timer) {
    long expected = Rig.undisturbed(Rig.config(1), paced(timer));
    assertEquals(expected, resumeWith(paced(timer), memory -> { }, Part.values()));
  }

  @Test
  void shouldShowALostPage() {
    long expected = Rig.undisturbed(Rig.config(1), paced(Timer.PERIODIC));
    LongConsumer lost = memory -> Memory.zero(memory + BuiltinGuest.WORK_BASE + 7 * 4096, 4096);
    assertNotEquals(expected, resumeWith(paced(Timer.PERIODIC), lost, Part.values()));
  }

  /** Each of these was left out once on purpose; what the guest needs at that moment must show. */
  @ParameterizedTest
  @EnumSource(names = {"SREGS", "XSAVE", "REGS", "LAPIC", "MSRS"})
  void shouldShowASkippedPartOfAVcpu(Part skipped) {
    long expected = Rig.undisturbed(Rig.config(1), paced(Timer.DEADLINE));
    assertNotEquals(expected, resumeWith(paced(Timer.DEADLINE), memory -> { }, without(skipped)));
  }

  /** With MSRs before the LAPIC the deadline is dropped, because the timer is not in that mode yet: the guest's clock stands still. */
  @Test
  void shouldShowASwappedOrder() {
    Part[] swapped = Part.values();
    swapped[Part.LAPIC.ordinal()] = Part.MSRS;
    swapped[Part.MSRS.ordinal()] = Part.LAPIC;
    assertEquals(0, resumeWith(paced(Timer.DEADLINE), memory -> { }, swapped));
  }

  // ---- states that are none ----

  @Test
  void shouldRefuseAStateOfAnotherMachine() {
    try (Rig two = new Rig(Rig.config(2), Rig.worker(10, false, 0, 1));
        MicroVm one = new MicroVm(Rig.config(1), c -> {}, MachineListener.NONE)) {
      two.seal();
      MalformedStateException refused = assertThrows(MalformedStateException.class, () -> one.restore(two.stateVirt(), two.stateBytes));
      assertEquals("machine state: vCPUs 2, this machine needs 1", refused.getMessage());
    }
  }

  @Test
  void shouldRefuseATruncatedState() {
    try (Rig rig = new Rig(Rig.config(1), Rig.worker(10, false, 0, 1));
        MicroVm other = new MicroVm(Rig.config(1), c -> {}, MachineListener.NONE)) {
      rig.seal();
      for (int bytes : new int[] {0, 1, 63, 64, rig.stateBytes - 1, rig.stateBytes + 1}) {
        assertThrows(MalformedStateException.class, () -> other.restore(rig.stateVirt(), bytes), bytes + " bytes");
      }
    }
  }

  /** Whatever the bytes are: taken or refused with one line, never a crash, and never an error of another kind. */
  @Test
  void shouldTakeOrRefuseAnyBytes() {
    SplittableRandom random = new SplittableRandom(5);
    try (Rig rig = new Rig(Rig.config(2), Rig.worker(10, false, 0, 1));
        Mapping broken = Mapping.anonymous(1 << 20);
        MicroVm other = new MicroVm(Rig.config(2), c -> {}, MachineListener.NONE)) {
      rig.seal();
      int refused = 0;
      for (int round = 0; round < Rig.amount(300); round++) {
        Memory.copy(rig.stateVirt(), broken.hostVirt(), rig.stateBytes);
        for (int harm = 1 + random.nextInt(8); harm > 0; harm--) {
          Memory.putByte(broken.hostVirt() + random.nextInt(rig.stateBytes), (byte) random.nextInt());
        }
        try {
          other.restore(broken.hostVirt(), rig.stateBytes);
        } catch (MalformedStateException e) {
          refused++;
          assertFalse(String.valueOf(e.getMessage()).contains("\n"));
        }
      }
      assertTrue(refused > 0);
      other.restore(rig.stateVirt(), rig.stateBytes);
    }
  }
}
