package dev.dyad.bindings.verbs;

import dev.dyad.bindings.abi.verbs.ibv_mr;
import dev.dyad.bindings.linux.Memory;

/**
 * Memory that the device may reach: pinned, and named by keys. Its owner keeps it mapped until this is closed. After
 * {@link #close} returned the device reaches it no more, whoever still knows the remote key. ibv_reg_mr(3).
 */
public final class MemoryRegion extends VerbsObject {

  private final long pointer;
  private final long hostVirt;
  private final long bytes;
  private final int localKey;
  private final int remoteKey;

  private MemoryRegion(ProtectionDomain domain, long pointer, long hostVirt, long bytes) {
    super(domain);
    this.pointer = pointer;
    this.hostVirt = hostVirt;
    this.bytes = bytes;
    localKey = Memory.getInt(pointer + ibv_mr.lkey$offset());
    remoteKey = Memory.getInt(pointer + ibv_mr.rkey$offset());
  }

  /**
   * @param access {@code IBV_ACCESS_*} OR-ed; 0 for memory that the device only reads, for our own sends
   * @throws dev.dyad.bindings.linux.NativeException ENOMEM when RLIMIT_MEMLOCK is too low
   */
  public static MemoryRegion register(ProtectionDomain domain, long hostVirt, long bytes, int access) {
    return new MemoryRegion(domain, Verbs.pointer("ibv_reg_mr", "bytes=" + bytes + " access=0x" + Integer.toHexString(access), domain.pointer(),
        hostVirt, bytes, access), hostVirt, bytes);
  }

  public long hostVirt() {
    return hostVirt;
  }

  public long bytes() {
    return bytes;
  }

  public int localKey() {
    return localKey;
  }

  public int remoteKey() {
    return remoteKey;
  }

  @Override
  void destroy() {
    Verbs.check("ibv_dereg_mr", "bytes=" + bytes, pointer);
  }

  @Override
  public String toString() {
    return "memory region of " + bytes + " bytes";
  }
}
