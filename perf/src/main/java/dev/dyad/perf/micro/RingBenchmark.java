package dev.dyad.perf.micro;

import dev.dyad.bindings.abi.kvm.kvm_dirty_gfn;
import dev.dyad.bindings.abi.kvm.kvm_h;
import dev.dyad.bindings.kvm.DirtyRing;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.kvm.PageSet;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * A dirty ring emptied into a set of pages; nanoseconds an entry. Its entries are made here, in KVM's stead, which is part of the time, as it is in
 * the C program.
 */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class RingBenchmark {
  private static final int ENTRIES = 1024;
  private static final int PAGES = 8192;
  private static final int STEP = 7;
  private static final long FLAGS = kvm_dirty_gfn.flags$offset();
  private static final int DIRTY = (int) kvm_h.KVM_DIRTY_GFN_F_DIRTY();

  private DirtyRing ring;
  private long entries;
  private final long[] taken = new long[256];
  private final PageSet found = new PageSet(PAGES);
  private final DirtyPages pages = new DirtyPages(PAGES);

  @Setup
  public void setUp() {
    Mapping memory = Mapping.anonymous(ENTRIES * DirtyRing.ENTRY_BYTES);
    entries = memory.hostVirt();
    for (int i = 0; i < ENTRIES; i++) {
      Memory.putLong(entries + i * DirtyRing.ENTRY_BYTES + kvm_dirty_gfn.offset$offset(), (long) i * STEP % PAGES);
    }
    ring = new DirtyRing(memory, ENTRIES);
  }

  @Benchmark
  @OperationsPerInvocation(ENTRIES)
  public long harvest() {
    for (int i = 0; i < ENTRIES; i++) {
      Memory.putIntRelease(entries + i * DirtyRing.ENTRY_BYTES + FLAGS, DIRTY);
    }
    for (int count = ring.peek(taken); count > 0; count = ring.peek(taken)) {
      for (int i = 0; i < count; i++) {
        taken[i] = DirtyRing.page(taken[i]);
      }
      found.addEach(taken, count);
      ring.take(count);
    }
    pages.clear();
    found.moveTo(pages);
    return pages.pageCount();
  }

  @TearDown
  public void tearDown() {
    ring.close();
  }
}
