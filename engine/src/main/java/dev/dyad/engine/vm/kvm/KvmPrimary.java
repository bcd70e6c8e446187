package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;

/** A {@link MicroVm} as the epoch thread sees it. */
public final class KvmPrimary implements Hypervisor {
  private static final int PAGE_BYTES = GuestMemory.PAGE_BYTES;

  private final MicroVm machine;
  private final GuestMemory memory;
  private final long base;
  private boolean halted;

  /** Takes over the machine, which runs or is paused. */
  public KvmPrimary(MicroVm machine) {
    this.machine = machine;
    memory = memoryOf(machine);
    base = machine.ram().hostVirt();
  }

  static GuestMemory memoryOf(MicroVm machine) {
    // A page more than the machine's own: what the node keeps beside it.
    int stateBytes = (machine.stateBytes() + PAGE_BYTES - 1 & -PAGE_BYTES) + PAGE_BYTES;
    return GuestMemory.builder().block("ram", machine.ram().bytes()).build(stateBytes);
  }

  public MicroVm machine() {
    return machine;
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public void startTracking() {
    machine.tracker().start();
  }

  @Override
  public void pause() {
    machine.pause();
  }

  @Override
  public boolean harvest(DirtyPages into) {
    return machine.tracker().harvest(into, machine.isPaused());
  }

  @Override
  public void copyPages(DirtyPages pages, long destination) {
    long to = destination;
    for (int i = 0; i < pages.runCount(); i++) {
      long run = pages.run(i);
      long bytes = (long) DirtyPages.pageCount(run) * PAGE_BYTES;
      Memory.copy(base + DirtyPages.firstPage(run) * PAGE_BYTES, to, bytes);
      to += bytes;
    }
  }

  @Override
  public void copyAtEnd(DirtyPages pages, long destination) {
    CopyOnWrite later = machine.copyOnWrite();
    if (later == null) {
      copyPages(pages, destination);
    } else {
      later.take(pages, destination);
    }
  }

  @Override
  public void finishCopies() {
    machine.finishCopies();
  }

  @Override
  public int captureState(long destination, int bytesMax) {
    return machine.capture(destination, bytesMax);
  }

  @Override
  public void resume() {
    if (!halted) {
      machine.resume();
    }
  }

  @Override
  public void halt() {
    halted = true;
    machine.pause();
  }

  @Override
  public void unhalt() {
    halted = false;
    machine.resume();
  }

  @Override
  public void close() {
    machine.close();
  }
}
