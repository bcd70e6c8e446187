package dev.dyad.engine.vm.kvm.devices;

/** An edge-triggered interrupt of a device. Any thread. Delivery may come after the return, even after a pause has begun: restoring a device raises again what is unanswered. */
@FunctionalInterface
public interface InterruptLine {
  void raise();
}
