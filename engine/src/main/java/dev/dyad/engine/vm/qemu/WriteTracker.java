package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.UFFDIO_REGISTER_MODE_WP;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_ASYNC;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_UNPOPULATED;

import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.PagemapScan;
import dev.dyad.bindings.linux.Userfaultfd;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import java.util.List;

/**
 * Finds the pages that anybody wrote through QEMU's mapping of its RAM blocks: vCPUs, device emulation, vhost. Asynchronous
 * write-protection by a userfaultfd of QEMU's address space, read and re-armed by PAGEMAP_SCAN (Linux 6.7).
 *
 * <p>Belongs to the epoch thread. Owns the userfaultfd: closing it, or the death of this process, ends the tracking.
 */
final class WriteTracker implements AutoCloseable {
  private static final int REGIONS_MAX = 1 << 14;

  private final Userfaultfd userfaultfd;
  private final PagemapScan scan;
  private final long[] startVirt;
  private final long[] bytes;
  private final long[] firstPage;

  private boolean enabled;

  // Regions of the last scan that were protected again but not handed out yet: they come first next time.
  private int block;
  private int region;
  private int regions;

  WriteTracker(int pid, Userfaultfd userfaultfd, GuestMemory memory, List<RamBlocks.RamBlock> blocks) {
    this.userfaultfd = userfaultfd;
    this.scan = PagemapScan.open(pid, REGIONS_MAX);
    startVirt = blocks.stream().mapToLong(RamBlocks.RamBlock::remoteVirt).toArray();
    bytes = blocks.stream().mapToLong(RamBlocks.RamBlock::bytes).toArray();
    firstPage = memory.blocks().stream().mapToLong(GuestMemory.Block::firstPage).toArray();
  }

  /** Registers and write-protects all blocks; once more for another baseline. */
  void start() {
    if (!enabled) {
      if (userfaultfd.enable(UFFD_FEATURE_WP_ASYNC() | UFFD_FEATURE_WP_UNPOPULATED() | UFFD_FEATURE_WP_HUGETLBFS_SHMEM()) < 0) {
        throw new QemuException("this kernel cannot track another process's writes (userfaultfd WP_ASYNC): Linux 6.7 or later is needed");
      }
      enabled = true;
    }
    regions = 0;
    for (int i = 0; i < startVirt.length; i++) {
      String detail = "block " + i + " bytes=" + bytes[i];
      NativeException.check(userfaultfd.register(startVirt[i], bytes[i], UFFDIO_REGISTER_MODE_WP()), "UFFDIO_REGISTER", detail);
      NativeException.check(userfaultfd.protect(startVirt[i], bytes[i]), "UFFDIO_WRITEPROTECT", detail);
    }
  }

  /** As {@link dev.dyad.engine.vm.Hypervisor#harvest}. */
  boolean harvest(DirtyPages into) {
    if (!handOut(into)) {
      return false;
    }
    for (block = 0; block < startVirt.length; block++) {
      long at = startVirt[block];
      long end = at + bytes[block];
      while (at < end) {
        region = 0;
        regions = 0;
        regions = (int) NativeException.check(scan.harvest(at, end), "PAGEMAP_SCAN", "harvest");
        at = scan.walkEnd();
        if (!handOut(into)) {
          return false;
        }
      }
    }
    return true;
  }

  private boolean handOut(DirtyPages into) {
    while (region < regions) {
      long start = scan.startVirt(region);
      long page = firstPage[block] + ((start - startVirt[block]) >>> GuestMemory.PAGE_SHIFT);
      if (!into.add(page, (scan.endVirt(region) - start) >>> GuestMemory.PAGE_SHIFT)) {
        return false;
      }
      region++;
    }
    return true;
  }

  @Override
  public void close() {
    userfaultfd.close();
    scan.close();
  }
}
