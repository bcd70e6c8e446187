package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.kvm.KvmVm;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.MemFd;
import dev.dyad.engine.vm.GuestMemory;
import org.jspecify.annotations.Nullable;

/**
 * The guest's memory: one memfd, mapped here (once more for KVM where pages are to be protected from the guest alone), shown to the guest in one slot below 3 GiB and the rest from 4 GiB on. The page
 * number in the flat space is the offset in the memfd.
 *
 * <p>Owns the mapping. Whoever writes to guest memory from this process, bypassing KVM's tracking, says so with {@link #wrote}
 * after the write.
 */
public final class GuestRam implements AutoCloseable {
  /** Devices and firmware live between this and 4 GiB. */
  public static final long HOLE_START = 3L << 30;

  public static final long HOLE_END = 4L << 30;

  /** {@link #hostVirt(long, long)} for a range that is not all memory. */
  public static final long OUTSIDE = -1;

  private static final long HUGE_PAGE_BYTES = 2 << 20;

  private final long bytes;
  private final long lowBytes;
  private final MemFd file;
  private final Mapping mapping;
  private final @Nullable Mapping guestMapping;
  private final long guestVirt;
  private final long base;
  private final PageSet deviceWrites;

  /**
   * @param bytes a multiple of 2 MiB
   * @param hugePages whether it is taken from the host's pool of 2 MiB pages; throws when that has too few
   */
  public GuestRam(long bytes, boolean hugePages) {
    this(bytes, hugePages, false);
  }

  /**
   * @param mappedTwice whether KVM gets a mapping of its own, so that pages can be protected from the guest and not from this process
   */
  GuestRam(long bytes, boolean hugePages, boolean mappedTwice) {
    if (bytes <= 0 || bytes % HUGE_PAGE_BYTES != 0) {
      throw new IllegalArgumentException("guest memory of " + bytes + " bytes; needed is a positive multiple of 2 MiB");
    }
    this.bytes = bytes;
    lowBytes = Math.min(bytes, HOLE_START);
    int flags = linux_h.MFD_CLOEXEC() | (hugePages ? linux_h.MFD_HUGETLB() : linux_h.MFD_ALLOW_SEALING());
    file = MemFd.create("dyad-guest", bytes, flags);
    try {
      mapping = file.map();
      guestMapping = mappedTwice ? file.map() : null;
    } catch (RuntimeException e) {
      file.close();
      throw hugePages
          ? new IllegalArgumentException("the pool of 2 MiB pages has too few free for " + (bytes >> 20) + " MiB of guest memory; give it more: sysctl vm.nr_hugepages=N (as root)", e)
          : e;
    }
    base = mapping.hostVirt();
    guestVirt = guestMapping == null ? base : guestMapping.hostVirt();
    deviceWrites = new PageSet(bytes >>> GuestMemory.PAGE_SHIFT);
  }

  public long bytes() {
    return bytes;
  }

  public long pages() {
    return bytes >>> GuestMemory.PAGE_SHIFT;
  }

  public long hostVirt() {
    return base;
  }

  /** The mapping that KVM uses. */
  long guestVirt() {
    return guestVirt;
  }

  /** Descriptor of the memfd, for one more mapping. */
  public int fd() {
    return file.fd();
  }

  int slots() {
    return bytes > lowBytes ? 2 : 1;
  }

  /** Page number in the flat space of a slot's first page. */
  long firstPage(int slot) {
    return slot == 0 ? 0 : lowBytes >>> GuestMemory.PAGE_SHIFT;
  }

  long slotPages(int slot) {
    return (slot == 0 ? lowBytes : bytes - lowBytes) >>> GuestMemory.PAGE_SHIFT;
  }

  /** Creates the slots, or changes their flags. */
  void attach(KvmVm vm, int flags) {
    for (int slot = 0; slot < slots(); slot++) {
      long offset = firstPage(slot) << GuestMemory.PAGE_SHIFT;
      vm.setMemory(slot, flags, slot == 0 ? 0 : HOLE_END, slotPages(slot) << GuestMemory.PAGE_SHIFT, guestVirt + offset);
    }
  }

  /**
   * Where a guest-physical range is in this process, or {@link #OUTSIDE}. The numbers may be the guest's: nothing of them is
   * trusted.
   */
  public long hostVirt(long guestPhys, long length) {
    if (guestPhys >= 0 && length >= 0 && guestPhys <= lowBytes && length <= lowBytes - guestPhys) {
      return base + guestPhys;
    }
    long offset = guestPhys - HOLE_END + lowBytes;
    if (guestPhys >= HOLE_END && length >= 0 && offset <= bytes && length <= bytes - offset) {
      return base + offset;
    }
    return OUTSIDE;
  }

  /** Counts the pages of a range as written. Any thread; {@code hostVirt} and length are within the memory. */
  public void wrote(long hostVirt, long length) {
    long first = (hostVirt - base) >>> GuestMemory.PAGE_SHIFT;
    long last = (hostVirt - base + Math.max(1, length) - 1) >>> GuestMemory.PAGE_SHIFT;
    synchronized (deviceWrites) {
      for (long page = first; page <= last; page++) {
        deviceWrites.add(page);
      }
    }
  }

  /** Moves what {@link #wrote} collected. The epoch thread. */
  void takeDeviceWrites(PageSet into) {
    synchronized (deviceWrites) {
      deviceWrites.moveTo(into);
    }
  }

  @Override
  public void close() {
    if (guestMapping != null) {
      guestMapping.close();
    }
    mapping.close();
    file.close();
  }
}
