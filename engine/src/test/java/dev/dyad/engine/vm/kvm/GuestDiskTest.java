package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.vm.kvm.devices.BlockPort;
import dev.dyad.engine.vm.kvm.devices.BlockRequest;
import dev.dyad.engine.vm.kvm.devices.VirtioBlock;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The guest's log over the disk device: records on the way at a pause are neither lost nor reordered. */
class GuestDiskTest {
  private static final long SECTORS = 4096;
  private static final int RECORD_BYTES = 2048;
  private static final long RECORD_MAGIC = 0x4452_4f43_4552_4759L;

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  /** A disk in memory that takes its time. */
  private static final class SlowDisk implements BlockPort, AutoCloseable {
    private final Mapping content;
    private final ExecutorService thread = Executors.newSingleThreadExecutor();
    volatile @Nullable VirtioBlock card;

    SlowDisk(Mapping content) {
      this.content = content;
    }

    @Override
    public long sectors() {
      return SECTORS;
    }

    @Override
    public void submit(BlockRequest request) {
      thread.execute(() -> serve(request));
    }

    private void serve(BlockRequest request) {
      try {
        TimeUnit.MICROSECONDS.sleep(ThreadLocalRandom.current().nextInt(1500));
      } catch (InterruptedException e) {
        return; // the primary died with this on its way
      }
      long at = content.hostVirt() + request.sector() * 512;
      switch (request.kind()) {
        case READ -> Memory.copy(at, request.buffer(), request.bytes());
        case WRITE -> Memory.copy(request.buffer(), at, request.bytes());
        case FLUSH -> { }
      }
      VirtioBlock told = card;
      if (told != null) {
        told.complete(request, VirtioBlock.OK);
      }
    }

    @Override
    public void close() {
      thread.shutdownNow();
      try {
        assertTrue(thread.awaitTermination(5, TimeUnit.SECONDS));
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private static MicroVm machine(SlowDisk disk) {
    MicroVm machine = new MicroVm(Rig.config(1), c -> {}, MachineListener.NONE, disk);
    disk.card = machine.block();
    return machine;
  }

  @Test
  void shouldFinishAfterATakeOverWhatWasOnItsWayToTheDisk() {
    BuiltinGuest image = BuiltinGuest.of(GuestPattern.NONE).withQuiet(true).withLog(BuiltinGuest.Log.BEFORE_REPLY);
    try (Mapping content = Mapping.anonymous(SECTORS * 512)) {
      int written = 0;
      SlowDisk disk = new SlowDisk(content);
      Rig rig = new Rig(machine(disk));
      rig.machine.boot(image);
      try (GuestNetworkTest.Wire first = new GuestNetworkTest.Wire(rig.machine)) {
        rig.primary.resume();
        first.resolve();
        for (int round = 0; round < 8; round++) {
          for (int i = 0; i < 3; i++) {
            assertEquals("STORED\r\n", command(rig, first.guestMac, "set k" + written + " 0 0 1\r\nx\r\n"));
            written++;
          }
          // One more, whose record is on its way when the primary dies.
          tell(rig, first.guestMac, "set k" + written + " 0 0 1\r\nx\r\n");
          written++;
          int now = written;
          BuiltinGuestStatus guest = rig.guest;
          Rig.await("the record", () -> guest.logRecords() == now);
          rig.seal();
          SlowDisk nextDisk = new SlowDisk(content);
          MicroVm next = machine(nextDisk);
          rig.copyAll(next.ram().hostVirt());
          disk.close();
          next.restore(rig.stateVirt(), rig.stateBytes);
          rig.close();
          disk = nextDisk;
          rig = new Rig(next);
          rig.primary.resume();
          BuiltinGuestStatus after = rig.guest;
          Rig.await("the disk", () -> after.logCompleted() == now);
        }
      } finally {
        disk.close();
        rig.close();
      }
      for (int number = 1; number <= written; number++) {
        long at = content.hostVirt() + (number - 1L) * RECORD_BYTES;
        assertEquals(RECORD_MAGIC, Memory.getLong(at), "record " + number);
        assertEquals(number, Memory.getLong(at + 8));
      }
    }
  }

  private static String command(Rig rig, byte[] guestMac, String text) {
    try (GuestNetworkTest.Wire wire = new GuestNetworkTest.Wire(rig.machine)) {
      wire.guestMac = guestMac;
      return wire.command(text);
    }
  }

  private static void tell(Rig rig, byte[] guestMac, String text) {
    try (GuestNetworkTest.Wire wire = new GuestNetworkTest.Wire(rig.machine)) {
      wire.guestMac = guestMac;
      wire.send(wire.request(text));
    }
  }

  @Test
  void shouldStartAnewAfterAReset() {
    StringBuffer console = new StringBuffer();
    try (MicroVm machine = new MicroVm(Rig.config(2), c -> console.append((char) c), MachineListener.NONE)) {
      BuiltinGuest image = BuiltinGuest.of(GuestPattern.random(100, 7).withStopAfter(5_000)).withPowerOffWhenDone(true);
      machine.boot(image);
      machine.resume();
      Rig.await("power off", () -> machine.power() != PowerState.ON);
      String once = console.toString();
      machine.pause();
      machine.reset(image);
      machine.resume();
      Rig.await("power off", () -> machine.power() != PowerState.ON);
      assertEquals(once + once, console.toString());
    }
  }
}
