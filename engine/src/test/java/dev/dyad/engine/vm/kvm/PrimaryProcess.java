package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import java.util.concurrent.locks.LockSupport;

/**
 * A primary in a process of its own, to be killed: boots the guest or goes on from a file that another such process left, and keeps
 * a replica in a file of its own. {@code PrimaryProcess VCPUS STOP_AFTER NEW_FILE [OLD_FILE]}
 *
 * <pre>
 *   0        epochs staged; 64: epochs committed; 128: bytes of state; 132: runs
 *   4 KiB    runs of the staged epoch       1 MiB
 *   ...      its state, the replica's state 1 MiB each
 *   ...      its pages                      64 MiB
 *   ...      the replica                    as large as the guest
 * </pre>
 */
final class PrimaryProcess {
  static final int STAGED = 0;
  static final int COMMITTED = 64;
  private static final int STATE_BYTES = 128;
  private static final int RUNS = 132;
  private static final long RUNS_AT = 4096;
  private static final long STAGED_STATE_AT = RUNS_AT + (1 << 20);
  private static final long STATE_AT = STAGED_STATE_AT + (1 << 20);
  private static final long PAGES_AT = STATE_AT + (1 << 20);
  private static final long REPLICA_AT = PAGES_AT + (64 << 20);
  static final long FILE_BYTES = REPLICA_AT + Rig.MEMORY;

  private PrimaryProcess() {}

  static BuiltinGuest image(long stopAfter) {
    GuestPattern pattern = GuestPattern.random(500, 31).withWritesPerTick(300).withStopAfter(stopAfter);
    return BuiltinGuest.of(pattern).withQuiet(true);
  }

  public static void main(String[] arguments) {
    MicroVmConfig config = Rig.config(Integer.parseInt(arguments[0]));
    MicroVm machine = new MicroVm(config, c -> {}, MachineListener.NONE);
    if (arguments.length > 3) {
      promote(machine, arguments[3]);
    } else {
      machine.boot(image(Long.parseLong(arguments[1])));
    }
    try (Rig rig = new Rig(machine);
        Mapping file = map(arguments[2])) {
      rig.primary.pause();
      rig.primary.startTracking();
      protect(rig, file.hostVirt());
      System.out.println("checksum " + Long.toHexString(rig.guest.checksum()));
    }
  }

  private static void protect(Rig rig, long file) {
    rig.seal();
    rig.copyAll(file + REPLICA_AT);
    Memory.copy(rig.stateVirt(), file + STATE_AT, rig.stateBytes);
    Memory.putInt(file + STATE_BYTES, rig.stateBytes);
    Memory.putIntRelease(file + STAGED, 1);
    Memory.putIntRelease(file + COMMITTED, 1);
    for (int epoch = 2; !rig.guest.isDone(); epoch++) {
      rig.primary.resume();
      LockSupport.parkNanos(20_000); // or the pause is there before a vCPU has woken up, each time
      rig.seal();
      rig.copySnapshot(file + PAGES_AT);
      for (int i = 0; i < rig.dirty.runCount(); i++) {
        Memory.putLong(file + RUNS_AT + 8L * i, rig.dirty.run(i));
      }
      Memory.putInt(file + RUNS, rig.dirty.runCount());
      Memory.copy(rig.stateVirt(), file + STAGED_STATE_AT, rig.stateBytes);
      Memory.putIntRelease(file + STAGED, epoch);
      apply(file);
      Memory.putIntRelease(file + COMMITTED, epoch);
    }
  }

  /** May be done twice: the second time after the first was cut off. */
  private static void apply(long file) {
    long from = file + PAGES_AT;
    for (int i = 0; i < Memory.getInt(file + RUNS); i++) {
      long run = Memory.getLong(file + RUNS_AT + 8L * i);
      long bytes = DirtyPages.pageCount(run) * 4096L;
      Memory.copy(from, file + REPLICA_AT + DirtyPages.firstPage(run) * 4096, bytes);
      from += bytes;
    }
    Memory.copy(file + STAGED_STATE_AT, file + STATE_AT, Memory.getInt(file + STATE_BYTES));
  }

  private static void promote(MicroVm machine, String path) {
    try (Mapping file = map(path)) {
      long at = file.hostVirt();
      if (Memory.getInt(at + STAGED) > Memory.getInt(at + COMMITTED)) {
        apply(at);
      }
      KvmStandby standby = new KvmStandby(machine);
      Memory.copy(at + REPLICA_AT, standby.hostVirt(0), Rig.MEMORY);
      standby.promote(at + STATE_AT, Memory.getInt(at + STATE_BYTES));
    }
  }

  private static Mapping map(String path) {
    try (FileDescriptor file = Files.open(path, linux_h.O_RDWR())) {
      return Mapping.shared(file.fd(), 0, FILE_BYTES);
    }
  }
}
