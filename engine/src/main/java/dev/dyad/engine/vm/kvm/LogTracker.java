package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_MEM_LOG_DIRTY_PAGES;

import dev.dyad.bindings.abi.kvm.kvm_clear_dirty_log;
import dev.dyad.bindings.abi.kvm.kvm_dirty_log;
import dev.dyad.bindings.kvm.KvmVm;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.engine.vm.DirtyPages;

/**
 * Dirty pages from the slots' bitmaps, with manual protection: KVM_GET_DIRTY_LOG reads, KVM_CLEAR_DIRTY_LOG protects exactly what was
 * read. For kernels without the ring. Its cost grows with the guest's memory.
 */
final class LogTracker implements DirtyTracker {
  private static final long ARGUMENT_BYTES = 4096;

  private final KvmVm vm;
  private final GuestRam ram;
  private final PageSet pending;
  private final Mapping bitmap;
  private final long argument;
  private final long bits;

  LogTracker(KvmVm vm, GuestRam ram) {
    this.vm = vm;
    this.ram = ram;
    pending = new PageSet(ram.pages());
    bitmap = Mapping.anonymous(ARGUMENT_BYTES + (ram.pages() / 8 + 4095 & -4096L));
    argument = bitmap.hostVirt();
    bits = argument + ARGUMENT_BYTES;
  }

  @Override
  public void start() {
    ram.attach(vm, (int) KVM_MEM_LOG_DIRTY_PAGES());
    ram.takeDeviceWrites(pending);
    pending.clear();
  }

  @Override
  public boolean harvest(DirtyPages into, boolean paused) {
    for (int slot = 0; slot < ram.slots(); slot++) {
      harvest(slot);
    }
    ram.takeDeviceWrites(pending);
    return pending.moveTo(into);
  }

  private void harvest(int slot) {
    Memory.putInt(argument + kvm_dirty_log.slot$offset(), slot);
    Memory.putLong(argument + kvm_dirty_log.dirty_bitmap$offset(), bits);
    NativeException.check(vm.getDirtyLog(argument), "KVM_GET_DIRTY_LOG", "");
    long pages = ram.slotPages(slot);
    long first = ram.firstPage(slot);
    boolean any = false;
    for (long word = 0; word < pages; word += 64) {
      long rest = Memory.getLong(bits + (word >>> 3));
      any |= rest != 0;
      for (; rest != 0; rest &= rest - 1) {
        pending.add(first + word + Long.numberOfTrailingZeros(rest));
      }
    }
    if (any) {
      Memory.putInt(argument + kvm_clear_dirty_log.slot$offset(), slot);
      Memory.putInt(argument + kvm_clear_dirty_log.num_pages$offset(), (int) pages);
      Memory.putLong(argument + kvm_clear_dirty_log.first_page$offset(), 0);
      Memory.putLong(argument + kvm_clear_dirty_log.dirty_bitmap$offset(), bits);
      NativeException.check(vm.clearDirtyLog(argument), "KVM_CLEAR_DIRTY_LOG", "");
    }
  }

  @Override
  public void ringFull() {
    throw new IllegalStateException("a full dirty ring on a machine that has none");
  }

  @Override
  public long ringFullCount() {
    return 0;
  }

  @Override
  public void stop() {
    ram.attach(vm, 0);
    pending.clear();
  }

  @Override
  public void close() {
    bitmap.close();
  }
}
