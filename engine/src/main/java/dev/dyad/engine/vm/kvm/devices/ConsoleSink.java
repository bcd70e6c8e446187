package dev.dyad.engine.vm.kvm.devices;

/** Takes what the guest prints, byte by byte. Called by vCPU threads under the port's lock: must not block, must not allocate. */
@FunctionalInterface
public interface ConsoleSink {
  void write(int character);
}
