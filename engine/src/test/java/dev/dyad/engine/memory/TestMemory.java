package dev.dyad.engine.memory;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import java.util.SplittableRandom;

/** A small guest's memory, both as the guest sees it and as the standby holds it, for tests. */
final class TestMemory implements AutoCloseable {
  static final int PAGE = GuestMemory.PAGE_BYTES;

  final GuestMemory layout =
      GuestMemory.builder().block("pc.ram", 40 * PAGE).block("vga.vram", 16 * PAGE).block("pc.bios", PAGE).build(8 * PAGE);
  final int pages = (int) layout.pages();
  final Mapping guest = Mapping.anonymous(pages * (long) PAGE);
  final Mapping standby = Mapping.anonymous(pages * (long) PAGE);
  final Mapping copies = Mapping.anonymous(4L * pages * (long) PAGE);
  final DirtyPages dirty = new DirtyPages(4 * pages);

  /** The replica, its blocks in reverse order in memory so that none follows the other by luck. */
  Replica replica() {
    long[] blocks = new long[layout.blocks().size() + 1];
    for (int i = 0; i < blocks.length; i++) {
      GuestMemory.Block block = i < blocks.length - 1 ? layout.blocks().get(i) : layout.state();
      blocks[i] = standbyVirt(block.firstPage());
    }
    return new Replica(layout, blocks);
  }

  long guestVirt(long page) {
    return guest.hostVirt() + page * PAGE;
  }

  /** Where the standby has a page: blocks from the end of the memory to its beginning. */
  long standbyVirt(long page) {
    long at = standby.hostVirt() + pages * (long) PAGE;
    for (int i = 0; i <= layout.blocks().size(); i++) {
      GuestMemory.Block block = i < layout.blocks().size() ? layout.blocks().get(i) : layout.state();
      at -= block.bytes();
      if (page < block.endPage()) {
        return at + (page - block.firstPage()) * PAGE;
      }
    }
    throw new IllegalArgumentException("page " + page);
  }

  /** Writes to random pages in ways that lead to every kind of record, and takes copies. */
  void run(SplittableRandom random) {
    dirty.clear();
    boolean[] written = new boolean[pages];
    for (int writes = random.nextInt(0, 40); writes > 0; writes--) {
      int page = random.nextInt(pages);
      write(page, random);
      written[page] = true;
    }
    for (int page = 0; page < pages; page++) {
      if (written[page]) {
        dirty.add(page, 1);
      }
    }
    copy();
  }

  void all() {
    dirty.clear();
    dirty.add(0, pages);
    copy();
  }

  void copy() {
    long to = copies.hostVirt();
    for (int i = 0; i < dirty.runCount(); i++) {
      long run = dirty.run(i);
      long bytes = DirtyPages.pageCount(run) * (long) PAGE;
      Memory.copy(guestVirt(DirtyPages.firstPage(run)), to, bytes);
      to += bytes;
    }
  }

  void write(int page, SplittableRandom random) {
    long at = guestVirt(page);
    switch (random.nextInt(6)) {
      case 0 -> Memory.zero(at, PAGE);
      case 1 -> { // reported, not changed
      }
      case 2 -> Memory.putLong(at + 8L * random.nextInt(512), random.nextLong());
      case 3 -> {
        for (int i = random.nextInt(200); i >= 0; i--) {
          Memory.putLong(at + 8L * random.nextInt(512), random.nextLong());
        }
      }
      case 4 -> Memory.putByte(at + random.nextInt(PAGE), (byte) random.nextInt());
      default -> {
        for (int i = 0; i < PAGE; i += 8) {
          Memory.putLong(at + i, random.nextLong());
        }
      }
    }
  }

  /** First page in which the standby differs from the guest, or −1. */
  int difference() {
    for (int page = 0; page < pages; page++) {
      if (!Memory.equal(guestVirt(page), standbyVirt(page), PAGE)) {
        return page;
      }
    }
    return -1;
  }

  byte[] standbyBytes() {
    byte[] bytes = new byte[pages * PAGE];
    Memory.copyTo(standby.hostVirt(), bytes, 0, bytes.length);
    return bytes;
  }

  @Override
  public void close() {
    guest.close();
    standby.close();
    copies.close();
  }

  /** Memory whose end is followed by a page that must not be touched: a read behind the end ends the JVM. */
  static final class Guarded implements AutoCloseable {
    private final Mapping mapping;
    private final long end;

    Guarded(long bytesMax) {
      long room = (bytesMax + PAGE - 1) / PAGE * PAGE;
      mapping = Mapping.anonymous(room + PAGE);
      end = mapping.hostVirt() + room;
      if (mapping.protect(room, PAGE, linux_h.PROT_NONE()) != 0) {
        throw new IllegalStateException("mprotect");
      }
    }

    /** Puts a copy of the bytes right before the guard and returns its address. */
    long place(byte[] bytes, int length) {
      Memory.copyFrom(bytes, 0, end - length, length);
      return end - length;
    }

    @Override
    public void close() {
      mapping.close();
    }
  }
}
