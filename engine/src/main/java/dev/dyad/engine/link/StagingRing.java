package dev.dyad.engine.link;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Mapping;

/**
 * The ring of bytes that a link replicates: one memory object mapped twice in a row, so that whatever starts inside it is
 * contiguous, also across its end.
 *
 * <p>Positions are counts of bytes since the link came up and never wrap; {@link #address} turns one into an address. The ring
 * itself has no cursors: the writer's position belongs to the writer, what has travelled and what is free again belongs to the link.
 */
public final class StagingRing implements AutoCloseable {
  private final Mapping mapping;
  private final long base;
  private final long mask;

  /**
   * @param capacityBytes a power of two, at least one page
   */
  public StagingRing(long capacityBytes) {
    this(Mapping.mirrored(requirePowerOfTwo(capacityBytes)));
  }

  /** Takes ownership of a ring that is mapped already; its size must be a power of two. */
  public StagingRing(Mapping mirrored) {
    requirePowerOfTwo(mirrored.bytes());
    mapping = mirrored;
    base = mirrored.hostVirt();
    mask = mirrored.bytes() - 1;
    mirrored.advise(linux_h.MADV_HUGEPAGE());
    // So that no page fault falls into an epoch. Kernels before 5.14 say EINVAL, and take the faults in the first lap.
    mirrored.advise(linux_h.MADV_POPULATE_WRITE());
  }

  public long capacityBytes() {
    return mask + 1;
  }

  /** Address of {@code position}; {@link #capacityBytes} bytes from there are contiguous. */
  public long address(long position) {
    return base + (position & mask);
  }

  /** Address of the whole of it, {@code 2 × capacityBytes} long: what a checksum or a NIC must be able to reach. */
  public long baseVirt() {
    return base;
  }

  /** Keeps the bytes and lets go of memory that a peer can write to. */
  public void unshare() {
    mapping.unshareMirrored();
  }

  @Override
  public void close() {
    mapping.close();
  }

  private static long requirePowerOfTwo(long bytes) {
    if (bytes < Mapping.PAGE_BYTES || Long.bitCount(bytes) != 1) {
      throw new IllegalArgumentException("ring of " + bytes + " bytes: needed is a power of two of at least " + Mapping.PAGE_BYTES);
    }
    return bytes;
  }
}
