package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.EFAULT;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.RemoteMemory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Reads guest pages out of QEMU: from a mapping of the same file where QEMU keeps one open (shared memory), else by
 * process_vm_readv. Belongs to the epoch thread; allocates nothing after it is made.
 */
final class PageReader implements AutoCloseable {
  private static final int RANGES_MAX = 1024;

  // A call's bytes, below the kernel's bound of 2 GiB (MAX_RW_COUNT).
  private static final long CALL_BYTES_MAX = 1L << 30;

  private final RemoteMemory remote;
  private final List<Mapping> mappings = new ArrayList<>();
  private final long[] remoteVirt;
  private final long[] hostVirt;
  private final long[] firstPage;
  private final long[] endPage;

  PageReader(QemuProcess process, GuestMemory memory, List<RamBlocks.RamBlock> blocks) {
    remote = new RemoteMemory(process.pid(), RANGES_MAX);
    remoteVirt = blocks.stream().mapToLong(RamBlocks.RamBlock::remoteVirt).toArray();
    hostVirt = blocks.stream().mapToLong(block -> mapShared(process, block)).toArray();
    firstPage = memory.blocks().stream().mapToLong(GuestMemory.Block::firstPage).toArray();
    endPage = memory.blocks().stream().mapToLong(GuestMemory.Block::endPage).toArray();
  }

  private long mapShared(QemuProcess process, RamBlocks.RamBlock block) {
    Optional<java.nio.file.Path> file = block.area().shared() ? process.openFile(block.area()) : Optional.empty();
    if (file.isEmpty()) {
      return 0;
    }
    try (FileDescriptor descriptor = Files.open(file.get().toString(), O_RDWR())) {
      Mapping mapping = Mapping.shared(descriptor.fd(), block.area().offset(), block.bytes());
      mappings.add(mapping);
      return mapping.hostVirt();
    }
  }

  /** Blocks that are read without a system call. */
  int sharedBlocks() {
    return mappings.size();
  }

  /** As {@link dev.dyad.engine.vm.Hypervisor#copyPages}. */
  void copy(DirtyPages pages, long destination) {
    long to = destination;
    int block = 0;
    for (int i = 0; i < pages.runCount(); i++) {
      long page = DirtyPages.firstPage(pages.run(i));
      long end = page + DirtyPages.pageCount(pages.run(i));
      // A run may go on into the next block, and a later run may lie before an earlier one.
      while (page < end) {
        block = blockOf(page, block);
        long until = Math.min(end, endPage[block]);
        long offset = (page - firstPage[block]) << GuestMemory.PAGE_SHIFT;
        long bytes = (until - page) << GuestMemory.PAGE_SHIFT;
        if (hostVirt[block] != 0) {
          Memory.copy(hostVirt[block] + offset, to, bytes);
        } else {
          addRemote(remoteVirt[block] + offset, to, bytes);
        }
        to += bytes;
        page = until;
      }
    }
    readRemote();
  }

  private int blockOf(long page, int near) {
    if (page >= firstPage[near] && page < endPage[near]) {
      return near;
    }
    for (int i = 0; i < firstPage.length; i++) {
      if (page >= firstPage[i] && page < endPage[i]) {
        return i;
      }
    }
    throw new IllegalArgumentException("page " + page + " is in no RAM block");
  }

  private void addRemote(long from, long to, long bytes) {
    for (long done = 0; done < bytes; ) {
      long part = Math.min(CALL_BYTES_MAX, bytes - done);
      if (remote.bytes() + part > CALL_BYTES_MAX) {
        readRemote();
      }
      if (!remote.add(from + done, to + done, part)) {
        readRemote();
        remote.add(from + done, to + done, part);
      }
      done += part;
    }
  }

  private void readRemote() {
    long expected = remote.bytes();
    if (expected == 0) {
      return;
    }
    long read = remote.read();
    if (read != expected) {
      throw new NativeException("process_vm_readv", read < 0 ? (int) -read : EFAULT(), "read " + read + " of " + expected + " bytes");
    }
  }

  @Override
  public void close() {
    remote.close();
    mappings.forEach(Mapping::close);
  }
}
