package dev.dyad.bindings.verbs;

/** What belongs together: a queue pair reaches only memory of its own domain. ibv_alloc_pd(3). */
public final class ProtectionDomain extends VerbsObject {

  private final RdmaContext device;
  private final long pointer;

  private ProtectionDomain(RdmaContext device, long pointer) {
    super(device);
    this.device = device;
    this.pointer = pointer;
  }

  public static ProtectionDomain of(RdmaContext device) {
    return new ProtectionDomain(device, Verbs.pointer("ibv_alloc_pd", device.name(), device.pointer()));
  }

  RdmaContext device() {
    return device;
  }

  long pointer() {
    requireOpen();
    return pointer;
  }

  @Override
  void destroy() {
    Verbs.check("ibv_dealloc_pd", device.name(), pointer);
  }

  @Override
  public String toString() {
    return "protection domain of " + device.name();
  }
}
