package dev.dyad.engine.vm.kvm.devices;

/** A device in guest-physical memory. Called by vCPU threads, several at once; must not block for long and allocates nothing. */
public interface MmioDevice {

  /**
   * @param offset address − the device's first
   * @param bytes 1, 2, 4 or 8
   */
  long read(int offset, int bytes);

  void write(int offset, int bytes, long value);
}
