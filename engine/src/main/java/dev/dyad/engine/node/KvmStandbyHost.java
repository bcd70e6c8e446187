package dev.dyad.engine.node;

import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import dev.dyad.engine.vm.kvm.KvmStandby;
import dev.dyad.engine.vm.kvm.MicroVm;
import org.jspecify.annotations.Nullable;

/** What a standby for microVMs brings along: the machine that waits lives in this process. Control thread. */
public final class KvmStandbyHost implements StandbyNode.Host {
  private final @Nullable ArbiterPlace arbiter;
  private final boolean hugePages;
  private final MicroVmTuning tuning;
  private final @Nullable ReceivingDisk disk;

  /**
   * @param arbiter where it is, or null: the one that the primary names
   * @param hugePages whether guest memory comes from this host's pool of 2 MiB pages
   */
  public KvmStandbyHost(@Nullable ArbiterPlace arbiter, boolean hugePages) {
    this(arbiter, hugePages, MicroVmTuning.USUAL, null);
  }

  /**
   * @param tuning of the epochs of a guest that has gone on here
   * @param disk of the guests that it waits for, or null
   */
  public KvmStandbyHost(@Nullable ArbiterPlace arbiter, boolean hugePages, MicroVmTuning tuning, @Nullable ReceivingDisk disk) {
    this.arbiter = arbiter;
    this.hugePages = hugePages;
    this.tuning = tuning;
    this.disk = disk;
  }

  @Override
  public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
    if (kind != ProtectedMicroVm.MACHINE_KIND) {
      throw new IllegalArgumentException("the primary runs a machine of kind " + kind + "; this standby builds microVMs, kind " + ProtectedMicroVm.MACHINE_KIND);
    }
    MicroVm machine = ProtectedMicroVm.build(MicroVmDescription.decode(envelope.description()), hugePages, tuning, disk == null ? null : disk.queue());
    KvmStandby waiting = new KvmStandby(machine);
    if (waiting.memory().pages() != memory.pages()) {
      waiting.close();
      throw new IllegalArgumentException(
          "the primary's microVM has " + memory.pages() + " pages of memory and state, one built here " + waiting.memory().pages() + "; needed are equal CPUs and kernels");
    }
    return waiting;
  }

  @Override
  public Arbiter arbiter(MachineEnvelope envelope) {
    return (arbiter != null ? arbiter : new ArbiterPlace(envelope.arbiter())).open(envelope.name());
  }

  @Override
  public String identity(StandbyMachine machine) {
    return ProtectedMicroVm.identity();
  }

  /** Whether a machine that has gone on is one of these. */
  public static boolean isMicroVm(StandbyMachine machine) {
    return machine instanceof KvmStandby;
  }

  static MicroVm machine(StandbyMachine promoted) {
    return ((KvmStandby) promoted).machine();
  }
}
