package dev.dyad.engine.vm.kvm;

/** Hears what a microVM does of its own accord. Called by vCPU threads: must not block, must not call the machine. */
public interface MachineListener {

  /** The guest switched itself off, asks for a reset, or cannot go on; its vCPUs run no more. */
  void powerChanged(PowerState state, String why);

  /** A vCPU's dirty ring was full: the epoch should end. The guest goes on meanwhile. */
  void ringFull();

  /** Hears nothing. */
  MachineListener NONE =
      new MachineListener() {
        @Override
        public void powerChanged(PowerState state, String why) {}

        @Override
        public void ringFull() {}
      };
}
