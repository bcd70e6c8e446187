package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** No epoch allocates, neither on the epoch thread nor on a vCPU's. */
class KvmAllocationTest {
  private static final int WARM_UP = 3_000;
  private static final int WARM_UPS_MAX = 10;

  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @ParameterizedTest
  @CsvSource({"RING, 1, 10000", "RING, 2, 10000", "LOG, 1, 2000"})
  void shouldAllocateNothingInTenThousandEpochs(Tracker tracker, int vcpus, int epochs) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    MicroVmConfig config = Rig.config(vcpus).withTracker(tracker);
    try (MicroVm machine = new MicroVm(config, c -> {}, MachineListener.NONE);
        Mapping copies = Mapping.anonymous(16 << 20);
        Mapping state = Mapping.anonymous(1 << 20)) {
      machine.boot(BuiltinGuest.of(GuestPattern.random(100, 3).withWritesPerTick(100)).withQuiet(true));
      KvmPrimary primary = new KvmPrimary(machine);
      primary.startTracking();
      DirtyPages dirty = new DirtyPages(1 << 12);
      List<Thread> vcpuThreads = machine.vcpuThreads();
      long[] ids = vcpuThreads.stream().mapToLong(Thread::threadId).toArray();
      // Steady is what has been compiled: linking a call for the first time allocates, and compilation takes its time on a busy machine.
      long warm;
      int rounds = 0;
      do {
        warm = allocated(threads, ids);
        run(primary, dirty, copies.hostVirt(), state.hostVirt(), (int) state.bytes(), WARM_UP);
      } while (allocated(threads, ids) != warm && ++rounds < WARM_UPS_MAX);
      long[] before = threads.getThreadAllocatedBytes(ids);
      long own = threads.getCurrentThreadAllocatedBytes();
      run(primary, dirty, copies.hostVirt(), state.hostVirt(), (int) state.bytes(), epochs);
      assertEquals(0, threads.getCurrentThreadAllocatedBytes() - own, "bytes on the epoch thread");
      long[] after = threads.getThreadAllocatedBytes(ids);
      for (int i = 0; i < ids.length; i++) {
        assertEquals(0, after[i] - before[i], "bytes on vCPU " + i);
      }
    }
  }

  /** By this thread and the vCPUs'. */
  private static long allocated(ThreadMXBean threads, long[] vcpus) {
    return threads.getCurrentThreadAllocatedBytes() + Arrays.stream(threads.getThreadAllocatedBytes(vcpus)).sum();
  }

  private static void run(KvmPrimary primary, DirtyPages dirty, long copies, long state, int stateBytes, int epochs) {
    for (int epoch = 0; epoch < epochs; epoch++) {
      primary.resume();
      primary.pause();
      dirty.clear();
      primary.harvest(dirty);
      primary.copyPages(dirty, copies);
      primary.captureState(state, stateBytes);
    }
  }
}
