package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.SteadyAllocation;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.kvm.MicroVmConfig.Tracker;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.util.stream.LongStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** No epoch allocates, neither on the epoch thread nor on a vCPU's. */
class KvmAllocationTest {
  @BeforeEach
  void needsKvm() {
    Rig.requireKvm();
  }

  @ParameterizedTest
  @CsvSource({"RING, 1, 10000", "RING, 2, 10000", "LOG, 1, 2000"})
  void shouldAllocateNothingInTenThousandEpochs(Tracker tracker, int vcpus, int epochs) {
    MicroVmConfig config = Rig.config(vcpus).withTracker(tracker);
    try (MicroVm machine = new MicroVm(config, c -> {}, MachineListener.NONE);
        Mapping copies = Mapping.anonymous(16 << 20);
        Mapping state = Mapping.anonymous(1 << 20)) {
      machine.boot(BuiltinGuest.of(GuestPattern.random(100, 3).withWritesPerTick(100)).withQuiet(true));
      KvmPrimary primary = new KvmPrimary(machine);
      primary.startTracking();
      DirtyPages dirty = new DirtyPages(1 << 12);
      long[] threads =
          LongStream.concat(LongStream.of(Thread.currentThread().threadId()), machine.vcpuThreads().stream().mapToLong(Thread::threadId)).toArray();
      long[] allocated =
          SteadyAllocation.bytes(threads, () -> run(primary, dirty, copies.hostVirt(), state.hostVirt(), (int) state.bytes(), epochs));
      assertArrayEquals(new long[threads.length], allocated, "bytes on the epoch thread and each vCPU's");
    }
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
