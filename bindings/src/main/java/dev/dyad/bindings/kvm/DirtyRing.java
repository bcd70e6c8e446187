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
 * <p>One harvesting thread at a time, which need not be the vCPU's. Entries are taken in their order. A page that was taken can be
 * written unnoticed until KVM_RESET_DIRTY_RINGS: reset first, copy afterwards.
 */
public final class DirtyRing implements AutoCloseable {

  public static final long ENTRY_BYTES = kvm_dirty_gfn.sizeof();

  /** {@link #peek} when the ring has nothing. */
  public static final long NONE = -1;

  private static final int SLOT_SHIFT = 48;

  /** Address space 65,535, slot 65,535. */
  private static final int NO_SLOT = -1;

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

  /** The oldest entry not taken, to be read with {@link #slot} and {@link #page}; {@link #NONE} when there is none. */
  public long peek() {
    long entry = base + (next & mask) * ENTRY_BYTES;
    if ((Memory.getIntAcquire(entry + FLAGS) & (DIRTY | RESET)) != DIRTY) {
      return NONE;
    }
    return (long) Memory.getInt(entry + SLOT) << SLOT_SHIFT | Memory.getLong(entry + OFFSET);
  }

  /** Takes the entry that {@link #peek} showed. */
  public void take() {
    Memory.putIntRelease(base + (next & mask) * ENTRY_BYTES + FLAGS, RESET);
    next++;
  }

  /**
   * Takes that entry, and has KVM_RESET_DIRTY_RINGS leave its page writable, so that no further write of it is reported: the entry names no slot when
   * the kernel reads it again, and one that names none is passed over (virt/kvm/dirty_ring.c, kvm_reset_dirty_gfn).
   */
  public void takeUnprotected() {
    Memory.putInt(base + (next & mask) * ENTRY_BYTES + SLOT, NO_SLOT);
    take();
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
