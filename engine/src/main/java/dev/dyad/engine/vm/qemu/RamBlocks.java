package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.vm.GuestMemory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Finds a QEMU's RAM blocks and where they are mapped in its address space.
 *
 * <p>QEMU 8.1 and later say it ({@code info ramblock}). Before, a block that the guest has mapped is found by its guest address
 * ({@code info mtree -f}, {@code gpa2hva}), and one that it has not by its size: QEMU maps each block alone, aligned to 2 MiB and
 * with a guard page behind it. Option ROMs and the tables for firmware are left out: both QEMUs fill them from the same files. Firmware is not: a QEMU
 * that waits for a guest does not load it ({@code rom_reset}), and a guest that starts anew after a take-over begins there.
 */
final class RamBlocks {

  /**
   * One block.
   *
   * @param name QEMU's own, e.g. {@code pc.ram}
   * @param bytes its size
   * @param remoteVirt its address in QEMU
   * @param area the mapping that holds it
   */
  record RamBlock(String name, long bytes, long remoteVirt, QemuProcess.Area area) {}

  private static final long ALIGNMENT = 2L << 20;

  // NAME  PSIZE  0xOFFSET 0xUSED 0xTOTAL  and since 8.1  0xHVA ro|rw
  private static final Pattern BLOCK =
      Pattern.compile("\\s*(\\S+)\\s+\\d+ \\S+\\s+0x([0-9a-f]+)\\s+0x([0-9a-f]+)\\s+0x([0-9a-f]+)(?:\\s+0x([0-9a-f]+)\\s+(ro|rw))?\\s*");

  // 0000000000100000-000000000fffffff (prio 0, ram): pc.ram @0000000000100000
  private static final Pattern RANGE =
      Pattern.compile("\\s*([0-9a-f]{16})-[0-9a-f]{16} \\(prio -?\\d+, (ram|nv-ram|ramd|rom|romd)\\): (\\S+)(?: @([0-9a-f]{16}))?.*");

  private static final Pattern HOST_ADDRESS = Pattern.compile("is 0x([0-9a-f]+)");

  private final QmpChannel qmp;
  private final List<QemuProcess.Area> areas;
  private final Map<String, Long> mappedAt = new HashMap<>();

  private RamBlocks(QmpChannel qmp, List<QemuProcess.Area> areas) {
    this.qmp = qmp;
    this.areas = areas;
  }

  /**
   * The blocks to replicate, in the order in which QEMU lists them.
   *
   * @throws QemuException when one of them cannot be found for certain
   */
  static List<RamBlock> find(QmpChannel qmp, QemuProcess process) {
    return new RamBlocks(qmp, process.areas()).find();
  }

  static GuestMemory memoryOf(List<RamBlock> blocks, long stateBytesMax) {
    GuestMemory.Builder memory = GuestMemory.builder();
    blocks.forEach(block -> memory.block(block.name, block.bytes));
    return memory.build(stateBytesMax);
  }

  /** Bytes of a page, by block, of those that are mapped from a file of larger pages than usual (hugetlbfs). */
  static Map<String, Long> hugePages(List<RamBlock> blocks, QemuProcess process) {
    Map<String, Long> found = new HashMap<>();
    if (blocks.stream().anyMatch(block -> block.area.inode() != 0)) {
      Map<Long, Long> pageBytes = process.pageBytes();
      for (RamBlock block : blocks) {
        long bytes = pageBytes.getOrDefault(block.area.start(), 0L);
        if (block.area.inode() != 0 && bytes > GuestMemory.PAGE_BYTES) {
          found.put(block.name, bytes);
        }
      }
    }
    return found;
  }

  private List<RamBlock> find() {
    List<Matcher> lines = new ArrayList<>();
    for (String line : qmp.monitor("info ramblock").split("\n")) {
      Matcher matcher = BLOCK.matcher(line);
      if (matcher.matches()) {
        lines.add(matcher);
      }
    }
    if (lines.isEmpty()) {
      throw new QemuException("QEMU lists no RAM block (\"info ramblock\"): is its version older than 2.8?");
    }
    readMemoryTree();
    Set<Long> claimed = new HashSet<>();
    List<RamBlock> found = new ArrayList<>();
    List<Matcher> unmapped = new ArrayList<>();
    for (Matcher line : lines) {
      Optional<Long> address = line.group(5) != null ? Optional.of(hex(line.group(5))) : guestMapped(line.group(1));
      address.ifPresent(claimed::add);
      if (isLeftOut(line)) {
        continue;
      }
      if (address.isPresent()) {
        found.add(block(line, address.get()));
      } else {
        unmapped.add(line);
      }
    }
    for (Matcher line : unmapped) {
      found.add(block(line, bySize(line, lines, claimed)));
    }
    List<String> order = lines.stream().map(line -> line.group(1)).toList();
    found.sort((a, b) -> Integer.compare(order.indexOf(a.name), order.indexOf(b.name)));
    return List.copyOf(found);
  }

  private static boolean isLeftOut(Matcher line) {
    String name = line.group(1);
    boolean firmware = name.equals("pc.bios") || name.endsWith("/pc.bios");
    return !firmware && ("ro".equals(line.group(6)) || name.startsWith("/rom@") || name.endsWith(".rom"));
  }

  private void readMemoryTree() {
    for (String line : qmp.monitor("info mtree -f").split("\n")) {
      Matcher range = RANGE.matcher(line);
      if (range.matches()) {
        if (range.group(2).equals("ramd")) {
          throw new QemuException("a device's own memory is mapped into the guest (" + range.group(3) + "): PCI passthrough cannot be protected");
        }
        long offset = range.group(4) == null ? 0 : hex(range.group(4));
        mappedAt.putIfAbsent(range.group(3), hex(range.group(1)) - offset);
      }
    }
  }

  /** By the guest's address of one of its ranges; the tree's names are the last part of the block's. */
  private Optional<Long> guestMapped(String block) {
    String region = block.substring(block.lastIndexOf('/') + 1);
    Long guestBase = mappedAt.get(region);
    if (guestBase == null) {
      return Optional.empty();
    }
    // The range at the block's own start may be hidden by another one; any part of it that is visible will do.
    for (String line : qmp.monitor("info mtree -f").split("\n")) {
      Matcher range = RANGE.matcher(line);
      if (range.matches() && range.group(3).equals(region)) {
        Matcher address = HOST_ADDRESS.matcher(qmp.monitor("gpa2hva 0x" + range.group(1)));
        if (address.find()) {
          return Optional.of(hex(address.group(1)) - (range.group(4) == null ? 0 : hex(range.group(4))));
        }
      }
    }
    return Optional.empty();
  }

  private long bySize(Matcher line, List<Matcher> lines, Set<Long> claimed) {
    long bytes = hex(line.group(4));
    List<Long> candidates = new ArrayList<>();
    for (int i = 0; i + 1 < areas.size(); i++) {
      QemuProcess.Area area = areas.get(i);
      boolean guarded = areas.get(i + 1).start() == area.end() && !areas.get(i + 1).writable();
      if (area.writable() && area.bytes() == bytes && area.start() % ALIGNMENT == 0 && guarded && !claimed.contains(area.start())) {
        candidates.add(area.start());
      }
    }
    long alike = lines.stream().filter(other -> other.group(5) == null && hex(other.group(4)) == bytes && guestMapped(other.group(1)).isEmpty()).count();
    if (candidates.size() != 1 || alike != 1) {
      throw new QemuException("RAM block " + line.group(1) + " (" + bytes + " bytes) cannot be told from " + candidates.size()
          + " mappings of that size: QEMU 8.1 or later says where it is");
    }
    claimed.add(candidates.getFirst());
    return candidates.getFirst();
  }

  private RamBlock block(Matcher line, long remoteVirt) {
    String name = line.group(1);
    long bytes = hex(line.group(4));
    QemuProcess.Area area = QemuProcess.writableFrom(areas, remoteVirt)
        .filter(whole -> whole.bytes() >= bytes)
        .orElseThrow(() -> new QemuException("RAM block " + name + " (" + bytes + " bytes) is not mapped writable at 0x" + Long.toHexString(remoteVirt)));
    return new RamBlock(name, bytes, remoteVirt, area);
  }

  private static long hex(String digits) {
    return Long.parseUnsignedLong(digits, 16);
  }
}
