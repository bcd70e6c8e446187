package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * What the kernels of a lab's hosts print, and whether one of them has died: a test that waits for anything else then waits in vain. Any thread.
 */
final class LabConsoles {
  /** The first line of a kernel's death. A soft lockup is none: an emulated host stands still whenever its machine is busy. */
  private static final Pattern DEATH = Pattern.compile("Oops:|Kernel panic - not syncing|BUG: kernel |BUG: unable to|kernel BUG at |general protection fault, ");

  private static final Pattern PLACE = Pattern.compile("RIP: \\w+:(\\S+)");
  private static final Pattern TIME = Pattern.compile("^\\[ *[0-9.]+\\] *");

  private final Path folder;
  private final Map<Path, Long> bytesSeen = new HashMap<>();
  private String found = "";
  private int foundAt;

  LabConsoles(Path folder) {
    this.folder = folder;
  }

  static Path of(Path folder, int number) {
    return folder.resolve("console" + number + ".log");
  }

  /** What a host said in its earlier life, kept when it is switched on again. */
  void keep(int number) throws IOException {
    var console = of(folder, number);
    if (Files.exists(console)) {
      Files.move(console, folder.resolve("console" + number + "-before.log"), StandardCopyOption.REPLACE_EXISTING);
    }
    synchronized (this) {
      bytesSeen.clear();
      found = "";
      foundAt = 0;
    }
  }

  /** The host whose kernel has died, 0 for none. */
  synchronized int dead() throws IOException {
    return death().isEmpty() ? 0 : foundAt;
  }

  /** Throws when the kernel of any host of the lab has died since the host was switched on. */
  void requireAlive() throws IOException {
    var death = death();
    if (!death.isEmpty()) {
      throw new IOException(death);
    }
  }

  /** Which kernel has died of what, in one line; empty for none. */
  synchronized String death() throws IOException {
    for (int number = 1; found.isEmpty(); number++) {
      var console = of(folder, number);
      if (!Files.exists(console)) {
        break;
      }
      long bytes = Files.size(console);
      if (bytes != bytesSeen.getOrDefault(console, 0L)) {
        bytesSeen.put(console, bytes);
        var why = death(Files.readAllLines(console, StandardCharsets.ISO_8859_1));
        foundAt = number;
        found = why == null ? "" : "the kernel of lab host " + number + " panicked: " + why + " (all of it: " + console + ")";
      }
    }
    return found;
  }

  /** The first line that tells of it, and where in the kernel it was. */
  static @Nullable String death(List<String> lines) {
    for (int i = 0; i < lines.size(); i++) {
      if (DEATH.matcher(lines.get(i)).find()) {
        var place = lines.subList(i, lines.size()).stream().map(PLACE::matcher).filter(java.util.regex.Matcher::find).map(match -> " in " + match.group(1)).findFirst();
        return TIME.matcher(lines.get(i).strip()).replaceFirst("") + place.orElse("");
      }
    }
    return null;
  }
}
