package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A distribution's kernel with its modules: the image that the user names, one installed in /boot, or one taken out of Debian's package without installing it and
 * kept in the cache, in {@code kernels/<package>/boot/vmlinuz-*} and {@code …/lib/modules/<release>}.
 *
 * @param release e.g. {@code 6.12.117+deb12-amd64}
 * @param image the kernel
 * @param modules the folder {@code lib/modules/<release>}
 */
public record KernelPackage(String release, Path image, Path modules) {
  /** Which of Debian's kernels. */
  public enum Flavour {
    /** With all modules; of the series 6.12, which brings RDMA and is quick under emulation. */
    FULL("linux-image-(6\\.12\\.\\d+\\+deb\\d+)-amd64", List.of("apt-cache", "search", "--names-only", "^linux-image-6\\.12\\..*-amd64$"),
        "no package linux-image-6.12.*-amd64 is offered here: add bookworm-security to apt's sources and run apt-get update"),
    /** Smaller, what virtual machines need; has no RDMA. */
    CLOUD("linux-image-(\\d[\\d.]*(?:-\\d+|\\+deb\\d+))-cloud-amd64", List.of("apt-cache", "depends", "linux-image-cloud-amd64"),
        "no package linux-image-cloud-amd64 is offered here: run apt-get update");

    private final Pattern name;
    private final List<String> listing;
    private final String need;

    Flavour(String name, List<String> listing, String need) {
      this.name = Pattern.compile(name);
      this.listing = listing;
      this.need = need;
    }
  }

  private static final int PACKAGE_SECONDS = 300;
  private static final String IMAGE_PREFIX = "vmlinuz-";

  /**
   * The newest kernel of this flavour in the cache, else from the package archive.
   *
   * @throws GuestUnavailableException with one line: what is missing, what to run
   */
  public static KernelPackage obtain(Flavour flavour) {
    try {
      Path kernels = Files.createDirectories(kernels());
      // Two processes may want the same kernel at the same time.
      try (FileChannel lock = FileChannel.open(kernels.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
        lock.lock();
        Optional<KernelPackage> cached = cached(kernels, flavour);
        return cached.isPresent() ? cached.get() : extract(kernels, newestOffered(flavour));
      }
    } catch (IOException e) {
      throw new GuestUnavailableException("no kernel for the guest in " + kernels() + ": " + e.getMessage(), e);
    }
  }

  /** The newest kernel of this flavour that was taken out of its package before. */
  public static Optional<KernelPackage> cached(Flavour flavour) {
    return cached(kernels(), flavour);
  }

  static Optional<KernelPackage> cached(Path kernels, Flavour flavour) {
    if (!Files.isDirectory(kernels)) {
      return Optional.empty();
    }
    try (Stream<Path> entries = Files.list(kernels)) {
      return newest(entries.filter(entry -> flavour.name.matcher(nameOf(entry)).matches()), KernelPackage::nameOf).map(KernelPackage::inFolder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The newest one that is installed here; one for virtual machines before others. */
  static Optional<KernelPackage> installed() {
    Path boot = Path.of("/boot");
    if (!Files.isDirectory(boot)) {
      return Optional.empty();
    }
    try (Stream<Path> files = Files.list(boot)) {
      List<KernelPackage> usable = files.flatMap(file -> of(file).stream()).toList();
      return newest(usable.stream().filter(kernel -> kernel.release.contains("cloud")), KernelPackage::release).or(() -> newest(usable.stream(), KernelPackage::release));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The kernel of this image, {@code vmlinuz-RELEASE}, with its modules in ../lib/modules/RELEASE or /lib/modules/RELEASE; empty when that cannot be used. */
  static Optional<KernelPackage> of(Path image) {
    if (!Files.isReadable(image) || !nameOf(image).startsWith(IMAGE_PREFIX)) {
      return Optional.empty();
    }
    String release = nameOf(image).substring(IMAGE_PREFIX.length());
    Path beside = image.toAbsolutePath().resolveSibling("../lib/modules/" + release).normalize();
    return Stream.of(beside, Path.of("/lib/modules", release)).filter(modules -> Files.isDirectory(modules.resolve("kernel/drivers/block"))).findFirst()
        .map(modules -> new KernelPackage(release, image, modules));
  }

  private static Path kernels() {
    return CacheFolder.path().resolve("kernels");
  }

  private static String nameOf(Path file) {
    return String.valueOf(file.getFileName());
  }

  private static <T> Optional<T> newest(Stream<T> all, Function<T, String> name) {
    return all.max(Comparator.comparing((T one) -> numbers(name.apply(one)), Arrays::compare));
  }

  /** 6.12.9 is older than 6.12.117. */
  private static int[] numbers(String name) {
    return Pattern.compile("\\d{1,9}").matcher(name).results().mapToInt(found -> Integer.parseInt(found.group())).toArray();
  }

  private static String newestOffered(Flavour flavour) throws IOException {
    for (String tool : List.of("apt-get", "apt-cache", "dpkg-deb", "tar")) {
      if (Tool.find(tool).isEmpty()) {
        throw new GuestUnavailableException("no kernel for the guest, and it cannot be fetched here because " + tool + " is missing: name one with -Ddyad.guest.kernel=/path/vmlinuz-RELEASE");
      }
    }
    String listing = new String(Tool.run(Path.of("/"), PACKAGE_SECONDS, flavour.listing), StandardCharsets.UTF_8);
    return newest(Stream.of(listing.split("[\\s|]+")).filter(word -> flavour.name.matcher(word).matches()), word -> word)
        .orElseThrow(() -> new GuestUnavailableException(flavour.need));
  }

  private static KernelPackage extract(Path kernels, String name) throws IOException {
    Path work = Files.createTempDirectory(kernels, ".unpack-");
    try {
      try {
        Tool.run(work, PACKAGE_SECONDS, List.of("apt-get", "-q", "download", name));
      } catch (IOException e) {
        throw new GuestUnavailableException("package " + name + " cannot be downloaded (" + e.getMessage() + "): run apt-get update", e);
      }
      String script = "dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/vmlinuz-*' './lib/modules/*' && rm ./*.deb";
      Tool.run(work, PACKAGE_SECONDS, List.of("/bin/sh", "-ec", script));
      inFolder(work);
      Path target = kernels.resolve(name);
      CacheFolder.moveIntoPlace(work, target);
      return inFolder(target);
    } finally {
      CacheFolder.deleteTree(work);
    }
  }

  private static KernelPackage inFolder(Path folder) {
    try (Stream<Path> images = Files.list(folder.resolve("boot"))) {
      return images.flatMap(image -> of(image).stream()).findFirst()
          .orElseThrow(() -> new IllegalStateException(folder + " holds no whole kernel: delete it and run again"));
    } catch (IOException e) {
      throw new IllegalStateException(folder + " cannot be read: delete it and run again", e);
    }
  }
}
