package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** A protected machine in one process: primary, epochs, and what a standby would hold after each of them. */
final class Rig implements AutoCloseable {
  static final long MEMORY = 32L << 20;
  private static final int SNAPSHOT_PAGES = 16384;

  /** How much a test does of what it usually does (epochs, kills, writes). A slow machine does less; what is checked of each is the same. */
  private static final double AMOUNT = Double.parseDouble(System.getProperty("dyad.kvm.amount", "1"));

  /** How long a test waits before it calls something not done or standing still, as a multiple of the usual. */
  private static final int PATIENCE = Integer.getInteger("dyad.kvm.patience", 1);

  final MicroVm machine;
  final KvmPrimary primary;
  final BuiltinGuestStatus guest;
  final StringBuffer console;
  final DirtyPages dirty = new DirtyPages(1 << 16);
  private final Mapping snapshot = Mapping.anonymous((long) SNAPSHOT_PAGES << GuestMemory.PAGE_SHIFT);
  private final Mapping state;
  int stateBytes;

  static void requireKvm() {
    String reason = Kvm.unusable();
    assumeTrue(reason.isEmpty(), reason);
  }

  static int amount(int usual) {
    return (int) Math.ceil(usual * AMOUNT);
  }

  static long patient(long usual) {
    return usual * PATIENCE;
  }

  static MicroVmConfig config(int vcpus) {
    return MicroVmConfig.of(MEMORY, vcpus).withSpins(0);
  }

  /** A guest that prints nothing and adds up its memory after {@code writes} on each vCPU. */
  static BuiltinGuest worker(long pages, boolean random, long writes, long seed) {
    GuestPattern pattern = random ? GuestPattern.random(pages, seed) : GuestPattern.sequential(pages, seed);
    return BuiltinGuest.of(pattern.withStopAfter(writes)).withQuiet(true);
  }

  /** The checksum that the guest ends with when nobody disturbs it. */
  static long undisturbed(MicroVmConfig config, BuiltinGuest image) {
    try (MicroVm machine = new MicroVm(config, c -> {}, MachineListener.NONE)) {
      machine.boot(image);
      machine.resume();
      BuiltinGuestStatus status = new BuiltinGuestStatus(machine.ram().hostVirt(), config.vcpus());
      await("the guest's end", () -> status.isDone() || machine.power() != PowerState.ON);
      assertEquals("", status.fault());
      assertTrue(status.isDone(), machine.powerReason());
      return status.checksum();
    }
  }

  static void await(String what, BooleanSupplier condition) {
    long end = System.nanoTime() + patient(TimeUnit.SECONDS.toNanos(60));
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > end) {
        fail("waited " + 60 * PATIENCE + " s for " + what);
      }
      try {
        Thread.sleep(1);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  /** A machine with this guest that has not run yet, tracked. */
  Rig(MicroVmConfig config, BuiltinGuest image) {
    this(new MicroVm(config, c -> {}, MachineListener.NONE), image);
  }

  private Rig(MicroVm machine, BuiltinGuest image) {
    this(machine);
    machine.boot(image);
    primary.startTracking();
  }

  /** A machine that is there already; tracking has to be started. */
  Rig(MicroVm machine) {
    this.machine = machine;
    console = new StringBuffer();
    primary = new KvmPrimary(machine);
    guest = new BuiltinGuestStatus(machine.ram().hostVirt(), machine.config().vcpus());
    state = Mapping.anonymous(primary.memory().state().bytes());
  }

  /** Everything, as the baseline does it; the machine is paused. */
  void copyAll(long replica) {
    Memory.copy(machine.ram().hostVirt(), replica, machine.ram().bytes());
  }

  /** Pause, harvest, copy, capture. The machine stays paused. */
  void seal() {
    primary.pause();
    dirty.clear();
    assertTrue(primary.harvest(dirty), "runs of one epoch exceed the bound");
    assertTrue(dirty.pageCount() <= SNAPSHOT_PAGES, "pages of one epoch exceed the bound: " + dirty.pageCount());
    primary.copyPages(dirty, snapshot.hostVirt());
    stateBytes = primary.captureState(state.hostVirt(), (int) state.bytes());
  }

  /** Applies what {@link #seal} copied. */
  void apply(long replica) {
    long from = snapshot.hostVirt();
    for (int i = 0; i < dirty.runCount(); i++) {
      long bytes = (long) DirtyPages.pageCount(dirty.run(i)) << GuestMemory.PAGE_SHIFT;
      Memory.copy(from, replica + (DirtyPages.firstPage(dirty.run(i)) << GuestMemory.PAGE_SHIFT), bytes);
      from += bytes;
    }
  }

  /** Copies the pages of the sealed epoch, one run after the other. */
  void copySnapshot(long destination) {
    Memory.copy(snapshot.hostVirt(), destination, dirty.pageCount() << GuestMemory.PAGE_SHIFT);
  }

  long stateVirt() {
    return state.hostVirt();
  }

  /** Number of the first page that differs, or −1; the machine is paused. */
  long firstDifference(long replica) {
    long at = Memory.mismatch(machine.ram().hostVirt(), replica, machine.ram().bytes());
    return at < 0 ? -1 : at >>> GuestMemory.PAGE_SHIFT;
  }

  @Override
  public void close() {
    primary.close();
    snapshot.close();
    state.close();
  }
}
