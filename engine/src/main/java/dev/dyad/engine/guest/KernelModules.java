package dev.dyad.engine.guest;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Finds modules and what they depend on, from the modules themselves ({@code depends=} in their {@code .modinfo}): a package
 * that was extracted and not installed has no modules.dep.
 */
public final class KernelModules {
  private static final int UNPACK_SECONDS = 60;
  private static final byte[] DEPENDS = "\0depends=".getBytes(StandardCharsets.US_ASCII);

  private final Map<String, Path> files = new HashMap<>();
  private final Set<String> builtin;
  private final SequencedMap<String, byte[]> ordered = new LinkedHashMap<>();

  public KernelModules(KernelPackage kernel) throws IOException {
    try (Stream<Path> all = Files.walk(kernel.modules().resolve("kernel"))) {
      all.filter(file -> nameOf(file).contains(".ko")).forEach(file -> files.put(moduleName(nameOf(file)), file));
    }
    builtin = Files.readAllLines(kernel.modules().resolve("modules.builtin")).stream()
        .map(line -> moduleName(line.substring(line.lastIndexOf('/') + 1))).collect(Collectors.toSet());
  }

  /** Whether it is there to be added, or built in. */
  boolean has(String name) {
    String module = name.replace('-', '_');
    return files.containsKey(module) || builtin.contains(module);
  }

  /**
   * Adds a module after all that it depends on; built-in ones and repeated ones add nothing.
   *
   * @throws GuestUnavailableException when the kernel has no such module
   */
  public void add(String name) throws IOException {
    String module = name.replace('-', '_');
    if (builtin.contains(module) || ordered.containsKey(module)) {
      return;
    }
    Path file = files.get(module);
    if (file == null) {
      throw new GuestUnavailableException("this guest kernel has no module " + name + ": another kernel package is needed");
    }
    byte[] content = unpacked(file);
    for (String dependency : dependencies(content)) {
      add(dependency);
    }
    ordered.put(module, content);
  }

  /** Name and uncompressed content, in the order in which they must be loaded. */
  public SequencedMap<String, byte[]> inOrder() {
    return ordered;
  }

  private static byte[] unpacked(Path file) throws IOException {
    String name = file.toString();
    if (name.endsWith(".ko")) {
      return Files.readAllBytes(file);
    }
    String tool = name.endsWith(".xz") ? "xz" : name.endsWith(".zst") ? "zstd" : "gzip";
    return Tool.run(Path.of("/"), UNPACK_SECONDS, List.of(tool, "-dc", name));
  }

  private static List<String> dependencies(byte[] module) {
    for (int at = 0; at + DEPENDS.length < module.length; at++) {
      if (startsWith(module, at, DEPENDS)) {
        int from = at + DEPENDS.length;
        int to = from;
        while (module[to] != 0) {
          to++;
        }
        String list = new String(module, from, to - from, StandardCharsets.US_ASCII);
        return list.isEmpty() ? List.of() : List.of(list.split(","));
      }
    }
    return List.of();
  }

  private static boolean startsWith(byte[] bytes, int at, byte[] prefix) {
    for (int i = 0; i < prefix.length; i++) {
      if (bytes[at + i] != prefix[i]) {
        return false;
      }
    }
    return true;
  }

  private static String nameOf(Path file) {
    return String.valueOf(file.getFileName());
  }

  private static String moduleName(String file) {
    int dot = file.indexOf(".ko");
    return (dot < 0 ? file : file.substring(0, dot)).replace('-', '_');
  }
}
