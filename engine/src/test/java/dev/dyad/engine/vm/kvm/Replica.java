package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/** What a standby holds: a waiting machine's memory as of the last committed epoch, and the state of that epoch. */
final class Replica implements AutoCloseable {
  private static final int STATE_BYTES_MAX = 1 << 20;

  final KvmStandby standby;
  private final Mapping state = Mapping.anonymous(STATE_BYTES_MAX);
  int stateBytes;
  long epochs;

  Replica(MicroVmConfig config) {
    standby = new KvmStandby(new MicroVm(config, c -> {}, MachineListener.NONE));
  }

  long memory() {
    return standby.hostVirt(0);
  }

  long stateVirt() {
    return state.hostVirt();
  }

  /** The baseline: everything of a paused machine. */
  void baseline(Rig rig) {
    rig.copyAll(memory());
    keepState(rig);
  }

  /** Takes a sealed epoch whole. */
  void commit(Rig rig) {
    rig.apply(memory());
    keepState(rig);
  }

  private void keepState(Rig rig) {
    Memory.copy(rig.stateVirt(), state.hostVirt(), rig.stateBytes);
    stateBytes = rig.stateBytes;
    epochs++;
  }

  /** Lets the standby run; the machine is then the caller's to protect. */
  MicroVm promote() {
    standby.promote(state.hostVirt(), stateBytes);
    return standby.machine();
  }

  @Override
  public void close() {
    state.close();
  }
}
