package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_MEM_LOG_DIRTY_PAGES;

import dev.dyad.bindings.kvm.DirtyRing;
import dev.dyad.bindings.kvm.KvmVm;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.engine.vm.DirtyPages;
import org.jspecify.annotations.Nullable;

/**
 * Dirty pages from the rings that KVM fills, one a vCPU. The same page can be in several of them: it is given once.
 *
 * <p>Pages are write-protected again (KVM_RESET_DIRTY_RINGS) before this returns, so a copy made afterwards misses no write. A vCPU
 * whose ring is full empties all rings into {@code pending} itself and goes on; the guest does not wait for the epoch's end.
 */
final class RingTracker implements DirtyTracker {
  private static final int BATCH = 256;

  private final KvmVm vm;
  private final GuestRam ram;
  private final DirtyRing[] rings;

  /** Found and protected again, not given yet. Guarded by this. */
  private final PageSet pending;

  /** Guarded by this. */
  private final @Nullable HotPages hot;

  /** Entries of a ring, and then their pages, a part of them at a time. Guarded by this. */
  private final long[] found = new long[BATCH];

  private volatile long ringFullCount;
  private long entries;

  /**
   * @param hotPagesMax pages that may stay writable
   */
  RingTracker(KvmVm vm, GuestRam ram, DirtyRing[] rings, int hotPagesMax) {
    this.vm = vm;
    this.ram = ram;
    this.rings = rings;
    pending = new PageSet(ram.pages());
    hot = hotPagesMax > 0 ? new HotPages(ram, hotPagesMax) : null;
  }

  @Override
  public void start() {
    protectAll();
    forget();
  }

  /** Also what was left writable: the machine is paused, or nothing of before counts. */
  private synchronized void protectAll() {
    if (hot != null && hot.count() > 0) {
      ram.attach(vm, 0);
      hot.clear();
    }
    ram.attach(vm, (int) KVM_MEM_LOG_DIRTY_PAGES());
  }

  /** Entries taken from the rings: write faults of the guest. */
  synchronized long entries() {
    return entries;
  }

  /** Pages that stay writable. */
  synchronized int hotPages() {
    return hot == null ? 0 : hot.count();
  }

  /** Called with everything still to be copied: what was written until now need not be found again. */
  private synchronized void forget() {
    drain();
    ram.takeDeviceWrites(pending);
    pending.clear();
  }

  @Override
  public synchronized boolean harvest(DirtyPages into, boolean paused) {
    drain();
    ram.takeDeviceWrites(pending);
    if (hot != null && paused) {
      hot.addTo(pending);
      if (hot.isStale()) {
        protectAll();
      }
    }
    return pending.moveTo(into);
  }

  @Override
  @SuppressWarnings("NonAtomicVolatileUpdate") // under the lock
  public synchronized void ringFull() {
    ringFullCount++;
    drain();
  }

  private void drain() {
    int taken = 0;
    for (int i = 0; i < rings.length; i++) {
      DirtyRing ring = rings[i];
      for (int count = ring.peek(found); count > 0; count = ring.peek(found)) {
        for (int at = 0; at < count; at++) {
          found[at] = ram.firstPage(DirtyRing.slot(found[at])) + DirtyRing.page(found[at]);
        }
        pending.addEach(found, count);
        if (hot != null) {
          leaveWritable(hot, ring, count);
        }
        ring.take(count);
        taken += count;
      }
    }
    entries += taken;
    if (taken > 0) {
      NativeException.check(vm.resetDirtyRings(), "KVM_RESET_DIRTY_RINGS", "");
    }
  }

  private void leaveWritable(HotPages some, DirtyRing ring, int count) {
    for (int at = 0; at < count; at++) {
      if (some.keeps(found[at])) {
        ring.leaveWritable(at);
      }
    }
  }

  @Override
  public long ringFullCount() {
    return ringFullCount;
  }

  @Override
  public void stop() {
    ram.attach(vm, 0);
    forget();
  }

  @Override
  public void close() {
    for (DirtyRing ring : rings) {
      ring.close();
    }
  }
}
