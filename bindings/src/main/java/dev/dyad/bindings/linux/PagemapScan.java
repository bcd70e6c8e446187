package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;

import dev.dyad.bindings.abi.linux.page_region;
import dev.dyad.bindings.abi.linux.pm_scan_arg;
import java.lang.foreign.Arena;

/**
 * Owner of a process's pagemap and of the list into which the kernel writes the ranges that a scan found. PAGEMAP_SCAN,
 * Linux 6.7; Documentation/admin-guide/mm/pagemap.rst.
 *
 * <p>One thread. Allocates nothing after it is made.
 */
public final class PagemapScan implements AutoCloseable {

  private static final long REGION_BYTES = page_region.sizeof();
  private static final long REGION_START = page_region.start$offset();
  private static final long REGION_END = page_region.end$offset();

  private final FileDescriptor pagemap;
  private final Arena arena = Arena.ofShared();
  private final int capacity;
  private final long argument;
  private final long regions;

  private PagemapScan(FileDescriptor pagemap, int capacity) {
    this.pagemap = pagemap;
    this.capacity = capacity;
    this.argument = arena.allocate(pm_scan_arg.sizeof(), 64).address();
    this.regions = arena.allocate(capacity * REGION_BYTES, 64).address();
  }

  /**
   * @param pid 0 for this process
   * @param capacity ranges of one scan; a scan that fills it stops at {@link #walkEnd()} and is to be continued there
   */
  public static PagemapScan open(int pid, int capacity) {
    if (capacity < 1) {
      throw new IllegalArgumentException("capacity " + capacity);
    }
    String path = "/proc/" + (pid == 0 ? "self" : Integer.toString(pid)) + "/pagemap";
    return new PagemapScan(Files.open(path, O_RDONLY()), capacity);
  }

  /**
   * Finds the pages that were written since they were protected, and protects exactly these again, atomically. EPERM: part
   * of the range is not registered with an asynchronous {@link Userfaultfd}.
   *
   * <p>Asks for PAGE_IS_WRITTEN and nothing beside it: with other masks kernels of before 2026 leave the path that counts
   * pages which were zapped after being written.
   *
   * @return the number of ranges, or {@code -errno}
   */
  public int harvest(long startVirt, long endVirt) {
    return scan(startVirt, endVirt, PM_SCAN_WP_MATCHING() | PM_SCAN_CHECK_WPASYNC(), PAGE_IS_WRITTEN());
  }

  /** The same without protecting anything. */
  public int peek(long startVirt, long endVirt) {
    return scan(startVirt, endVirt, PM_SCAN_CHECK_WPASYNC(), PAGE_IS_WRITTEN());
  }

  /**
   * A scan with flags and categories of one's own: ranges whose pages have all of {@code categories}.
   *
   * @return the number of ranges, or {@code -errno}
   */
  public int scan(long startVirt, long endVirt, long flags, long categories) {
    Memory.putLong(argument + pm_scan_arg.size$offset(), pm_scan_arg.sizeof());
    Memory.putLong(argument + pm_scan_arg.flags$offset(), flags);
    Memory.putLong(argument + pm_scan_arg.start$offset(), startVirt);
    Memory.putLong(argument + pm_scan_arg.end$offset(), endVirt);
    Memory.putLong(argument + pm_scan_arg.walk_end$offset(), 0);
    Memory.putLong(argument + pm_scan_arg.vec$offset(), regions);
    Memory.putLong(argument + pm_scan_arg.vec_len$offset(), capacity);
    Memory.putLong(argument + pm_scan_arg.max_pages$offset(), 0);
    Memory.putLong(argument + pm_scan_arg.category_inverted$offset(), 0);
    Memory.putLong(argument + pm_scan_arg.category_mask$offset(), categories);
    Memory.putLong(argument + pm_scan_arg.category_anyof_mask$offset(), 0);
    Memory.putLong(argument + pm_scan_arg.return_mask$offset(), categories);
    return (int) Ioctl.call(pagemap.fd(), PAGEMAP_SCAN(), argument);
  }

  /** Where the last scan stopped: its end, or less when the list was full. */
  public long walkEnd() {
    return Memory.getLong(argument + pm_scan_arg.walk_end$offset());
  }

  /** First byte of a range that the last scan found. */
  public long startVirt(int index) {
    return Memory.getLong(regions + index * REGION_BYTES + REGION_START);
  }

  /** First byte after that range. */
  public long endVirt(int index) {
    return Memory.getLong(regions + index * REGION_BYTES + REGION_END);
  }

  /** Most ranges of one scan. */
  public int capacity() {
    return capacity;
  }

  @Override
  public void close() {
    pagemap.close();
    arena.close();
  }
}
