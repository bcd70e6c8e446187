package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MicroVmTest {

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @Test
  void shouldPrintAndSwitchItselfOff() {
    StringBuffer console = new StringBuffer();
    try (MicroVm machine = new MicroVm(Rig.config(2), c -> console.append((char) c), MachineListener.NONE)) {
      BuiltinGuest image = BuiltinGuest.of(GuestPattern.random(500, 7).withStopAfter(Rig.amount(20_000))).withPowerOffWhenDone(true);
      machine.boot(image);
      machine.resume();
      Rig.await("power off", () -> machine.power() != PowerState.ON);
      assertEquals("switched off by the guest", machine.powerReason());
      assertEquals(PowerState.OFF, machine.power());
      assertTrue(console.toString().startsWith("dyad guest: 2 vCPUs, 500 pages each\ndyad guest: network up\n"), console.toString());
      assertTrue(console.toString().contains("dyad guest: done, checksum "), console.toString());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4, 8})
  void shouldEndInTheSameChecksumHoweverOftenItIsPaused(int vcpus) {
    BuiltinGuest image = Rig.worker(300, true, Rig.amount(100_000), 3);
    long expected = Rig.undisturbed(Rig.config(vcpus), image);
    try (Rig rig = new Rig(Rig.config(vcpus), image)) {
      int pauses = 0;
      while (!rig.guest.isDone()) {
        rig.primary.resume();
        LockSupport.parkNanos(20_000); // or the pause is there before a vCPU has woken up, each time
        rig.seal();
        pauses++;
      }
      assertEquals(expected, rig.guest.checksum(), "after " + pauses + " pauses");
    }
    assertNotEquals(expected, Rig.undisturbed(Rig.config(vcpus), Rig.worker(300, true, Rig.amount(100_000), 4)));
  }

  @Test
  void shouldTellOfAGuestThatFaults() {
    try (MicroVm machine = new MicroVm(Rig.config(1), c -> {}, MachineListener.NONE)) {
      machine.boot(BuiltinGuest.of(GuestPattern.NONE));
      Memory.putShort(machine.ram().hostVirt() + 0x100000, (short) 0x0b0f); // ud2
      machine.resume();
      Rig.await("the end", () -> machine.power() != PowerState.ON);
      assertNotEquals(PowerState.OFF, machine.power());
    }
  }

  @Test
  void shouldRefuseWhatNeedsAPausedMachine() {
    try (Rig rig = new Rig(Rig.config(1), Rig.worker(10, false, 0, 1));
        Mapping room = Mapping.anonymous(1 << 20)) {
      assertThrows(IllegalArgumentException.class, () -> rig.machine.capture(room.hostVirt(), 100));
      rig.primary.resume();
      assertThrows(IllegalStateException.class, () -> rig.machine.capture(room.hostVirt(), 1 << 20));
      assertThrows(IllegalStateException.class, () -> rig.machine.restore(room.hostVirt(), 1 << 20));
    }
  }
}
