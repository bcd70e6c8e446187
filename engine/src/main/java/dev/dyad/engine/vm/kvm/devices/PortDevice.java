package dev.dyad.engine.vm.kvm.devices;

/** A device on I/O ports. Called by vCPU threads, several at once; must not block for long and allocates nothing. */
public interface PortDevice {

  /**
   * @param offset port number − the device's first
   * @param bytes 1, 2 or 4
   */
  int in(int offset, int bytes);

  void out(int offset, int bytes, int value);
}
