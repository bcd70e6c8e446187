package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A distribution's kernel: its image and the directory of its modules.
 *
 * <p>Looked for in this order: the image that the user names, one fetched before (in the cache), one installed in /boot, and at
 * last Debian's {@code linux-image-cloud-amd64}, downloaded and unpacked (not installed) into the cache.
 *
 * @param id name and version, part of the cache key of what is built from it
 * @param image the bzImage
 * @param modules the directory that holds its {@code .ko} files, at any depth
 */
record GuestKernel(String id, Path image, Path modules) {

  /** What a guest of any of our machine types needs; what a kernel has built in is simply not found. */
  private static final List<String> MODULES = List.of("virtio_pci", "virtio_mmio", "virtio_net", "virtio_blk", "crc32c_generic", "ext4");

  private static final String CLOUD_KERNEL = "linux-image-cloud-amd64";
  private static final String IMAGE_PREFIX = "vmlinuz-";

  static GuestKernel find(@Nullable Path named, Path cache) {
    if (named != null) {
      return of(named).orElseThrow(() -> new GuestUnavailableException("kernel " + named
          + " cannot be used: it must be a readable file vmlinuz-VERSION with its modules in ../lib/modules/VERSION or /lib/modules/VERSION"));
    }
    return newestIn(cache.resolve("kernels"), 3)
        .or(() -> newestIn(Path.of("/boot"), 1))
        .orElseGet(() -> download(cache));
  }

  private static Optional<GuestKernel> newestIn(Path directory, int depth) {
    if (!Files.isDirectory(directory)) {
      return Optional.empty();
    }
    try (Stream<Path> files = Files.walk(directory, depth)) {
      return files.filter(file -> name(file).startsWith(IMAGE_PREFIX))
          .sorted(Comparator.comparing((Path file) -> name(file).contains("cloud")).thenComparing(GuestKernel::name).reversed())
          .flatMap(file -> of(file).stream())
          .findFirst();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Optional<GuestKernel> of(Path image) {
    if (!Files.isReadable(image) || !name(image).startsWith(IMAGE_PREFIX)) {
      return Optional.empty();
    }
    String version = name(image).substring(IMAGE_PREFIX.length());
    Path beside = image.toAbsolutePath().resolveSibling("../lib/modules/" + version).normalize();
    for (Path modules : List.of(beside, Path.of("/lib/modules", version))) {
      if (Files.isDirectory(modules.resolve("kernel/drivers/block"))) {
        return Optional.of(new GuestKernel(version, image, modules.resolve("kernel")));
      }
    }
    return Optional.empty();
  }

  private static String name(Path file) {
    return file.getFileName().toString();
  }

  private static GuestKernel download(Path cache) {
    String need = "no Linux kernel for the guest: apt-get install " + CLOUD_KERNEL + " (or name one: -Ddyad.guest.kernel=/path/vmlinuz-VERSION)";
    String missing = Tools.missing("apt-get", "apt-cache", "dpkg-deb", "tar");
    if (missing != null) {
      throw new GuestUnavailableException(need + "; it cannot be fetched here because " + missing + " is missing");
    }
    try {
      String name = Tools.output(List.of("apt-cache", "depends", CLOUD_KERNEL)).lines().map(String::strip)
          .filter(line -> line.startsWith("Depends: linux-image-")).map(line -> line.substring("Depends: ".length()))
          .findFirst().orElseThrow(() -> new IOException("the package lists do not know " + CLOUD_KERNEL + " (apt-get update)"));
      Path kernels = Files.createDirectories(cache.resolve("kernels"));
      Path work = Files.createTempDirectory(kernels, ".fetch-");
      try {
        Tools.run(work, List.of("apt-get", "download", "-qq", name));
        Path deb;
        try (Stream<Path> files = Files.list(work)) {
          deb = files.filter(file -> name(file).endsWith(".deb")).findFirst().orElseThrow(() -> new IOException("no .deb came"));
        }
        Path tree = Files.createDirectory(work.resolve("tree"));
        Tools.pipe(List.of("dpkg-deb", "--fsys-tarfile", deb.toString()),
            List.of("tar", "-x", "-C", tree.toString(), "--wildcards", "./boot/vmlinuz-*", "*/kernel/drivers/virtio", "*/kernel/drivers/net/virtio_net*",
                "*/kernel/drivers/net/net_failover*", "*/kernel/net/core/failover*", "*/kernel/drivers/block/virtio_blk*"));
        Path target = kernels.resolve(name(deb).substring(0, name(deb).length() - ".deb".length()));
        Tools.moveIntoPlace(tree, target);
        return newestIn(target, 2).orElseThrow(() -> new IOException(name + " holds no usable kernel"));
      } finally {
        Tools.deleteTree(work);
      }
    } catch (IOException e) {
      throw new GuestUnavailableException(need + "; fetching it failed: " + e.getMessage(), e);
    }
  }

  /** The needed modules by file name, in the order in which they can be inserted. */
  Map<String, byte[]> orderedModules() throws IOException {
    Map<String, Path> files = new LinkedHashMap<>();
    try (Stream<Path> tree = Files.walk(modules)) {
      tree.filter(file -> name(file).contains(".ko")).forEach(file -> files.put(moduleName(file), file));
    }
    Map<String, byte[]> ordered = new LinkedHashMap<>();
    for (String module : MODULES) {
      addWithDependencies(module, files, ordered);
    }
    return ordered;
  }

  private static String moduleName(Path file) {
    return name(file).substring(0, name(file).indexOf(".ko")).replace('-', '_');
  }

  private static void addWithDependencies(String module, Map<String, Path> files, Map<String, byte[]> ordered) throws IOException {
    Path file = files.get(module);
    if (file == null || ordered.containsKey(module + ".ko")) {
      return;
    }
    byte[] content = Tools.decompressed(file);
    for (String dependency : dependencies(content)) {
      addWithDependencies(dependency, files, ordered);
    }
    ordered.put(module + ".ko", content);
  }

  /** Reads the {@code depends=a,b} string of the module's .modinfo section; its strings are NUL-separated, so no ELF parser is needed. */
  private static List<String> dependencies(byte[] module) {
    String text = new String(module, StandardCharsets.ISO_8859_1);
    List<String> names = new ArrayList<>();
    int start = text.indexOf("\0depends=");
    if (start >= 0) {
      int from = start + "\0depends=".length();
      for (String name : text.substring(from, text.indexOf('\0', from)).split(",")) {
        if (!name.isEmpty()) {
          names.add(name.replace('-', '_'));
        }
      }
    }
    return names;
  }
}
