package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.*;

import dev.dyad.bindings.abi.kvm.kvm_dirty_gfn;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * The ring in which KVM names the pages that one vCPU has written (KVM_CAP_DIRTY_LOG_RING_ACQ_REL; api.rst 8.29).
 *
 * <pre>
 *   kernel:  entry, then flags = DIRTY (release)        00 → 01
 *   here:    flags (acquire) = DIRTY, entry, take it;   01 → 1x  flags = RESET (release)
 *   kernel:  KVM_RESET_DIRTY_RINGS: protects the page   1x → 00
 * </pre>
 *
 * <p>One harvesting thread at a time, which need not be the vCPU's. Entries are taken in their order and many at a time: looked at, worked through, taken. A page that was
 * taken can be written unnoticed until KVM_RESET_DIRTY_RINGS: reset first, copy afterwards.
 */
public final class DirtyRing implements AutoCloseable {

  public static final long ENTRY_BYTES = kvm_dirty_gfn.sizeof();

  private static final int SLOT_SHIFT = 48;

  /** Address space 65,535, slot 65,535. */
  private static final int NO_SLOT = -1;

  /** Of flags, in the lower half of a word, and slot, in its upper half. */
  private static final long FLAGS = kvm_dirty_gfn.flags$offset();

  private static final long SLOT = kvm_dirty_gfn.slot$offset();
  private static final long OFFSET = kvm_dirty_gfn.offset$offset();
  private static final int DIRTY = (int) KVM_DIRTY_GFN_F_DIRTY();
  private static final int RESET = (int) KVM_DIRTY_GFN_F_RESET();

  private final Mapping mapping;
  private final long base;
  private final int mask;
  private int next;

  /**
   * @param entries as enabled on the machine: a power of two
   */
  public DirtyRing(KvmVcpu vcpu, int entries) {
    this(Mapping.shared(vcpu.fd(), (long) KVM_DIRTY_LOG_PAGE_OFFSET() * Mapping.PAGE_BYTES, entries * ENTRY_BYTES), entries);
  }

  /** Over memory that the caller fills in KVM's stead, for measurements; owns it from now on. */
  public DirtyRing(Mapping entriesMapping, int entries) {
    mapping = entriesMapping;
    base = mapping.hostVirt();
    mask = entries - 1;
  }

  /**
   * Looks at the oldest entries that were not taken yet.
   *
   * @param into as many as fit, each to be read with {@link #slot} and {@link #page}
   * @return their number
   */
  public int peek(long[] into) {
    // Fields in locals: behind each ordered access the compiler would read them again.
    long start = base;
    int first = next;
    int last = mask;
    int most = Math.min(into.length, last + 1); // or the first would be seen again
    int count = 0;
    for (; count < most; count++) {
      long entry = entry(start, first + count & last);
      long head = Memory.getLongAcquire(entry + FLAGS);
      if ((head & (DIRTY | RESET)) != DIRTY) {
        break;
      }
      into[count] = head >>> Integer.SIZE << SLOT_SHIFT | Memory.getLong(entry + OFFSET);
    }
    return count;
  }

  private static long entry(long start, int index) {
    return Memory.base(start) + index * ENTRY_BYTES;
  }

  /**
   * Has KVM_RESET_DIRTY_RINGS leave the page of an entry writable, so that no further write of it is reported: the entry names no slot when the kernel reads it again, and
   * one that names none is passed over (virt/kvm/dirty_ring.c, kvm_reset_dirty_gfn).
   *
   * @param index of the entry among those that {@link #peek} showed, before they are taken
   */
  public void leaveWritable(int index) {
    Memory.putInt(entry(base, next + index & mask) + SLOT, NO_SLOT);
  }

  /** Takes the first {@code count} of the entries that {@link #peek} showed. */
  public void take(int count) {
    long start = base;
    int first = next;
    int last = mask;
    for (int i = 0; i < count; i++) {
      Memory.putIntRelease(entry(start, first + i & last) + FLAGS, RESET);
    }
    next = first + count;
  }

  public static int slot(long entry) {
    return (int) (entry >>> SLOT_SHIFT);
  }

  /** Number of the page within its slot. */
  public static long page(long entry) {
    return entry & (1L << SLOT_SHIFT) - 1;
  }

  @Override
  public void close() {
    mapping.close();
  }
}
