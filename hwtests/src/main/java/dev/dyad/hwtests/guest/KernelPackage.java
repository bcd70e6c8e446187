package dev.dyad.hwtests.guest;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * A Linux kernel with its modules, taken out of the distribution's package without installing it and kept in the user's
 * cache: {@code kernels/<package>/boot/vmlinuz-*} and {@code …/lib/modules/<release>}.
 *
 * @param image the kernel
 * @param modules the folder {@code lib/modules/<release>}
 */
public record KernelPackage(Path image, Path modules) {
  /** With real modules; the "cloud" flavour has no RDMA. */
  public static final String FULL = "amd64";

  /** Smaller, only what virtual machines need. */
  public static final String CLOUD = "cloud-amd64";

  private static final int PACKAGE_SECONDS = 300;

  /** Where Dyad keeps what it can make again: {@code $XDG_CACHE_HOME/dyad}, else {@code ~/.cache/dyad}. */
  public static Path cache() {
    String base = System.getenv("XDG_CACHE_HOME");
    return base != null && base.startsWith("/") ? Path.of(base, "dyad") : Path.of(System.getProperty("user.home"), ".cache", "dyad");
  }

  /** The newest 6.12 kernel of this flavour in the cache, else from the package archive. */
  public static KernelPackage obtain(String flavour) throws IOException, GuestUnavailable {
    var pattern = Pattern.compile("linux-image-6\\.12\\.(\\d+)\\+deb\\d+-" + flavour);
    var kernels = cache().resolve("kernels");
    Files.createDirectories(kernels);
    // Two test JVMs may want the same kernel at the same time.
    try (var lock = FileChannel.open(kernels.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      lock.lock();
      var cached = newestCached(kernels, pattern);
      if (cached.isPresent()) {
        return cached.get();
      }
      return extract(kernels, newestOffered(kernels, pattern, flavour));
    }
  }

  private static Optional<KernelPackage> newestCached(Path kernels, Pattern pattern) throws IOException {
    try (var entries = Files.list(kernels)) {
      return entries.filter(p -> pattern.matcher(p.getFileName().toString()).matches())
          .max(Comparator.comparingInt(p -> minorVersion(pattern, p.getFileName().toString())))
          .map(KernelPackage::inFolder);
    }
  }

  private static String newestOffered(Path folder, Pattern pattern, String flavour) throws IOException, GuestUnavailable {
    for (var tool : List.of("apt-get", "apt-cache", "dpkg-deb", "tar")) {
      if (Tool.find(tool).isEmpty()) {
        throw new GuestUnavailable("no " + tool + " here, so no guest kernel can be fetched: run where Debian's packages are available");
      }
    }
    var listing = new String(Tool.run(folder, PACKAGE_SECONDS, List.of("apt-cache", "search", "--names-only", "^linux-image-6\\.12\\..*-" + flavour + "$")),
        StandardCharsets.UTF_8);
    var names = new ArrayList<String>();
    for (var line : listing.lines().toList()) {
      var name = line.split(" ", 2)[0];
      if (pattern.matcher(name).matches()) {
        names.add(name);
      }
    }
    return names.stream().max(Comparator.comparingInt(n -> minorVersion(pattern, n)))
        .orElseThrow(() -> new GuestUnavailable("no package linux-image-6.12.*-" + flavour + " is offered here: add bookworm-security to apt's sources and run apt-get update"));
  }

  private static int minorVersion(Pattern pattern, String name) {
    var matcher = pattern.matcher(name);
    return matcher.matches() ? Integer.parseInt(matcher.group(1)) : -1;
  }

  private static KernelPackage extract(Path kernels, String name) throws IOException, GuestUnavailable {
    var work = Files.createTempDirectory(kernels, "unpack");
    try {
      try {
        Tool.run(work, PACKAGE_SECONDS, List.of("apt-get", "-q", "download", name));
      } catch (IOException e) {
        throw new GuestUnavailable("package " + name + " cannot be downloaded (" + e.getMessage() + "): run apt-get update");
      }
      var script = "dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/vmlinuz-*' './lib/modules/*' && rm ./*.deb";
      Tool.run(work, PACKAGE_SECONDS, List.of("/bin/sh", "-ec", script));
      inFolder(work);
      var target = kernels.resolve(name);
      Files.move(work, target, StandardCopyOption.ATOMIC_MOVE);
      return inFolder(target);
    } finally {
      deleteTree(work);
    }
  }

  private static KernelPackage inFolder(Path folder) {
    return new KernelPackage(only(folder.resolve("boot")), only(folder.resolve("lib/modules")));
  }

  private static Path only(Path folder) {
    try (var entries = Files.list(folder)) {
      return entries.findFirst().orElseThrow(() -> new IllegalStateException(folder + " is empty: delete it and run again"));
    } catch (IOException e) {
      throw new IllegalStateException(folder + " cannot be read: delete its parent folder and run again", e);
    }
  }

  /** Deletes a folder and all below it; a path that is not there is fine. */
  public static void deleteTree(Path folder) throws IOException {
    if (!Files.exists(folder)) {
      return;
    }
    try (var all = Files.walk(folder)) {
      for (var path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(path);
      }
    }
  }
}
