package dev.dyad.bindings.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_DIRTY_GFN_F_DIRTY;
import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_DIRTY_GFN_F_RESET;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.bindings.abi.kvm.kvm_dirty_gfn;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A ring whose entries are made and reset here, as the kernel does it. */
class DirtyRingTest {
  private static final int ENTRIES = 8;

  private final Mapping memory = Mapping.anonymous(Mapping.PAGE_BYTES);
  private final long entries = memory.hostVirt();
  private final DirtyRing ring = new DirtyRing(memory, ENTRIES);
  private int written;
  private int reset;

  @AfterEach
  void close() {
    ring.close();
  }

  private long entry(int number) {
    return entries + number % ENTRIES * DirtyRing.ENTRY_BYTES;
  }

  private void write(int slot, long page) {
    long entry = entry(written++);
    Memory.putInt(entry + kvm_dirty_gfn.slot$offset(), slot);
    Memory.putLong(entry + kvm_dirty_gfn.offset$offset(), page);
    Memory.putIntRelease(entry + kvm_dirty_gfn.flags$offset(), (int) KVM_DIRTY_GFN_F_DIRTY());
  }

  /** Number of entries that were taken since the last time. */
  private int reset() {
    int before = reset;
    while (reset < written && Memory.getIntAcquire(entry(reset) + kvm_dirty_gfn.flags$offset()) == (int) KVM_DIRTY_GFN_F_RESET()) {
      Memory.putIntRelease(entry(reset++) + kvm_dirty_gfn.flags$offset(), 0);
    }
    return reset - before;
  }

  @Test
  void shouldShowEachEntryOnceAndInOrderThoughTheRingBeginsAnew() {
    long[] found = new long[3];
    long page = 0;
    for (int round = 0; round < 20; round++) {
      for (int i = 0; i < 5; i++) {
        write(round % 2, 1L << 40 | page + i);
      }
      int taken = 0;
      for (int count = ring.peek(found); count > 0; count = ring.peek(found)) {
        for (int i = 0; i < count; i++) {
          assertEquals(round % 2, DirtyRing.slot(found[i]));
          assertEquals(1L << 40 | page++, DirtyRing.page(found[i]));
        }
        ring.take(count);
        taken += count;
      }
      assertEquals(5, taken);
      assertEquals(5, reset());
    }
  }

  @Test
  void shouldShowAFullRingOnceToOneWhoHasRoomForMore() {
    for (int i = 0; i < ENTRIES; i++) {
      write(0, i);
    }
    long[] found = new long[3 * ENTRIES];
    assertEquals(ENTRIES, ring.peek(found));
    assertArrayEquals(new long[] {0, 1, 2, 3, 4, 5, 6, 7}, Arrays.copyOf(found, ENTRIES));
    ring.take(ENTRIES);
    assertEquals(0, ring.peek(found));
    assertEquals(ENTRIES, reset());
    assertEquals(0, ring.peek(found));
  }

  @Test
  void shouldTakeAndLeaveWritableOnlyTheOnesThatItIsTold() {
    for (int i = 0; i < 4; i++) {
      write(1, i);
    }
    long[] found = new long[ENTRIES];
    assertEquals(4, ring.peek(found));
    ring.leaveWritable(1);
    ring.take(2);
    assertEquals(2, reset());
    assertEquals(1, Memory.getInt(entry(0) + kvm_dirty_gfn.slot$offset()));
    assertEquals(-1, Memory.getInt(entry(1) + kvm_dirty_gfn.slot$offset()));
    assertEquals(2, ring.peek(found));
    assertEquals(2, DirtyRing.page(found[0]));
    assertEquals(1, DirtyRing.slot(found[0]));
  }
}
