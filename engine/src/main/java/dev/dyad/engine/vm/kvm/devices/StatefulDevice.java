package dev.dyad.engine.vm.kvm.devices;

/**
 * A device whose state belongs to the machine's.
 *
 * <p>{@link #quiesce} comes before, {@link #wake} after a pause. In between the device neither changes its state nor touches guest
 * memory nor interrupts, whoever calls it.
 */
public interface StatefulDevice {

  /** Constant size of the state. */
  int stateBytes();

  void saveState(long destination);

  /** Throws {@link dev.dyad.engine.vm.kvm.MalformedStateException} when the bytes are none of this device's. */
  void restoreState(long source);

  void quiesce();

  void wake();

  /** Puts the device as it was before the guest started. The machine is paused. */
  void reset();
}
