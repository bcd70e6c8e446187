package dev.dyad.engine.vm.qemu;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What {@code /proc} says of a process: proc(5). Reads when asked, keeps nothing.
 *
 * @param pid its number here
 */
record QemuProcess(int pid) {

  /** One line of {@code maps}. */
  record Area(long start, long end, boolean writable, boolean executable, boolean shared, long offset, String device, long inode, String name) {
    long bytes() {
      return end - start;
    }

    private boolean sameFile(Area other) {
      return inode == other.inode && device.equals(other.device) && shared == other.shared;
    }
  }

  private static final Pattern AREA = Pattern.compile("([0-9a-f]+)-[0-9a-f]+ [-r]");

  Path proc() {
    return Path.of("/proc", Integer.toString(pid));
  }

  boolean exists() {
    return Files.isDirectory(proc());
  }

  /** Equal for as long as this process lives, and no other's on this host since it booted. */
  String identity() {
    return "qemu-" + pid + "-" + startTime();
  }

  /** Start time in clock ticks since boot: with the pid, the identity of the process. */
  long startTime() {
    String stat = read("stat");
    String[] afterName = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    return Long.parseLong(afterName[19]);
  }

  List<String> commandLine() {
    String text = read("cmdline");
    return text.isEmpty() ? List.of() : List.of(text.substring(0, text.length() - 1).split("\0", -1));
  }

  Path workingDirectory() {
    try {
      return Files.readSymbolicLink(proc().resolve("cwd"));
    } catch (IOException e) {
      throw refused("cwd", e);
    }
  }

  /** Whether this looks like a QEMU system emulator. */
  boolean isQemu() {
    try {
      List<String> line = commandLine();
      return !line.isEmpty() && (Path.of(line.getFirst()).getFileName().toString().contains("qemu") || line.getFirst().endsWith("/kvm"));
    } catch (QemuException e) {
      return false;
    }
  }

  /** Threads, the first one first. */
  List<Integer> threads() {
    try (DirectoryStream<Path> tasks = Files.newDirectoryStream(proc().resolve("task"))) {
      List<Integer> threads = new ArrayList<>();
      tasks.forEach(task -> threads.add(Integer.valueOf(task.getFileName().toString())));
      threads.sort(null);
      return threads;
    } catch (IOException e) {
      throw refused("task", e);
    }
  }

  /** The mappings, by address. */
  List<Area> areas() {
    List<Area> areas = new ArrayList<>();
    for (String line : read("maps").split("\n")) {
      String[] word = line.split(" +", 6);
      int dash = word[0].indexOf('-');
      areas.add(new Area(Long.parseUnsignedLong(word[0], 0, dash, 16), Long.parseUnsignedLong(word[0], dash + 1, word[0].length(), 16),
          word[1].charAt(1) == 'w', word[1].charAt(2) == 'x', word[1].charAt(3) == 's', Long.parseUnsignedLong(word[2], 16),
          word[3], Long.parseLong(word[4]), word.length > 5 ? word[5] : ""));
    }
    return areas;
  }

  /** Bytes of a page of each mapping, by its start. Makes the kernel look at all pages of the process. */
  Map<Long, Long> pageBytes() {
    Map<Long, Long> found = new HashMap<>();
    long start = 0;
    for (String line : read("smaps").split("\n")) {
      Matcher area = AREA.matcher(line);
      if (area.lookingAt()) {
        start = Long.parseUnsignedLong(area.group(1), 16);
      } else if (line.startsWith("KernelPageSize:")) {
        found.put(start, Long.parseLong(line.replaceAll("\\D", "")) << 10);
      }
    }
    return found;
  }

  /** The mapping that begins at the address, with those that continue it (the kernel splits areas as it likes); none when it is not writable. */
  static Optional<Area> writableFrom(List<Area> areas, long start) {
    Area whole = null;
    for (Area area : areas) {
      if (whole == null) {
        if (area.writable && area.start <= start && start < area.end) {
          whole = new Area(start, area.end, true, area.executable, area.shared, area.offset + start - area.start, area.device, area.inode, area.name);
        }
      } else if (area.start == whole.end && area.writable && area.sameFile(whole)) {
        whole = new Area(whole.start, area.end, true, whole.executable, whole.shared, whole.offset, whole.device, whole.inode, whole.name);
      } else {
        break;
      }
    }
    return Optional.ofNullable(whole);
  }

  /** A descriptor of the process that refers to the mapped file, as a path that can be opened; none when it keeps none. */
  Optional<Path> openFile(Area area) {
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(proc().resolve("fd"))) {
      for (Path descriptor : descriptors) {
        // The link of a memfd reads "/memfd:NAME (deleted)", as in maps; the inode decides.
        if (Files.readSymbolicLink(descriptor).toString().equals(area.name)
            && Files.getAttribute(descriptor, "unix:ino") instanceof Long inode && inode == area.inode) {
          return Optional.of(descriptor);
        }
      }
      return Optional.empty();
    } catch (IOException e) {
      throw refused("fd", e);
    }
  }

  String read(String file) {
    try {
      return new String(Files.readAllBytes(proc().resolve(file)), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw refused(file, e);
    }
  }

  private QemuException refused(String file, IOException cause) {
    if (!exists()) {
      return new QemuException("there is no process " + pid, cause);
    }
    return new QemuException("/proc/" + pid + "/" + file + " cannot be read: run dyad as the user that runs QEMU, or as root (CAP_SYS_PTRACE)", cause);
  }
}
