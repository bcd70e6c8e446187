package dev.dyad.engine.guest;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A bootable Linux with Redis 7: a distribution's kernel, and an initramfs of busybox, the host's redis-server with its libraries
 * and the kernel's virtio modules.
 *
 * <p>Kept in {@code $XDG_CACHE_HOME/dyad} ({@code ~/.cache/dyad}) under a hash of its inputs and renamed into place, so that any
 * number of processes may ask for it at once. Boots in 3 to 5 s without hardware virtualisation, prints
 * {@value #READY} on its serial console and then one {@link #TICK} line each second. What the kernel logs after that shows on
 * the console too.
 *
 * @param kernel the bzImage
 * @param initramfs the cpio archive
 */
public record LinuxGuest(Path kernel, Path initramfs) {
  public static final String READY = "dyad-guest ready";

  /** One line of the console while the guest lives: group 1 counts from 0, group 2 is the guest's uptime in seconds. */
  public static final String TICK = "dyad-guest tick ([0-9]+) uptime ([0-9.]+)";

  /** Guest address when {@code dyad.ip=} is not given; it fits QEMU's user-mode network. */
  public static final String DEFAULT_IP = "10.0.2.15/24";

  /**
   * Keeps boot short and quiet, and the guest's own watchers of time (TSC watchdog, timer check) from judging an emulated clock.
   */
  public static final String KERNEL_COMMAND_LINE =
      "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cryptomgr.notests no_timer_check tsc=reliable";

  private static final int FORMAT = 3;
  private static final int TOOL_SECONDS = 30;

  /** What a guest of any of our machine types may need; not every kernel has all of them. */
  private static final List<String> MODULES = List.of("virtio_pci", "virtio_mmio", "virtio_net", "virtio_blk", "crc32c_generic", "ext4");

  /** Finds or builds it; {@code -Ddyad.guest.kernel=FILE} names a kernel of the user's. */
  public static LinuxGuest obtain() {
    String named = System.getProperty("dyad.guest.kernel");
    return obtain(named == null ? null : Path.of(named));
  }

  /**
   * @param kernelImage a {@code vmlinuz-VERSION} with its modules beside it, or null to look for one
   * @throws GuestUnavailableException with one line that says which packages to install
   */
  public static LinuxGuest obtain(@Nullable Path kernelImage) {
    Path busybox = Tool.require("busybox", "busybox-static");
    Path redis = Tool.require("redis-server", "redis-server");
    Path cache = CacheFolder.path();
    KernelPackage kernel = kernel(kernelImage);
    try {
      Map<String, Path> files = new TreeMap<>();
      addProgram("bin/busybox", busybox, files);
      addProgram("usr/bin/redis-server", redis, files);
      byte[] init = initScript();
      Path target = cache.resolve("guest-" + hash(kernel, files, init));
      LinuxGuest guest = new LinuxGuest(target.resolve("vmlinuz"), target.resolve("initramfs"));
      if (!Files.isDirectory(target)) {
        Files.createDirectories(cache);
        Path work = Files.createTempDirectory(cache, ".guest-");
        try {
          build(work, kernel, files, init);
          Files.setPosixFilePermissions(work, PosixFilePermissions.fromString("rwxr-xr-x"));
          CacheFolder.moveIntoPlace(work, target);
        } finally {
          CacheFolder.deleteTree(work);
        }
      }
      return guest;
    } catch (IOException e) {
      throw new GuestUnavailableException("the Linux guest could not be built in " + cache + ": " + e.getMessage(), e);
    }
  }

  /**
   * The kernel command line.
   *
   * @param options more words, e.g. {@code dyad.ip=172.20.0.2/24 dyad.gw=172.20.0.1 dyad.tick=0.1 dyad.dirty=256}; may be empty. With {@code
   *     dyad.disk=vda} Redis keeps its append-only file on that disk's ext4, flushed before each reply, and a program {@code run} found
   *     there is started
   */
  public String commandLine(String options) {
    return options.isEmpty() ? KERNEL_COMMAND_LINE : KERNEL_COMMAND_LINE + " " + options;
  }

  /** The one that is named, else one that is here, else the distribution's. */
  private static KernelPackage kernel(@Nullable Path named) {
    if (named != null) {
      return KernelPackage.of(named).orElseThrow(() -> new GuestUnavailableException("kernel " + named
          + " cannot be used: it must be a readable file vmlinuz-VERSION with its modules in ../lib/modules/VERSION or /lib/modules/VERSION"));
    }
    return KernelPackage.cached(KernelPackage.Flavour.CLOUD).or(KernelPackage::installed).orElseGet(() -> KernelPackage.obtain(KernelPackage.Flavour.CLOUD));
  }

  /** Adds a program and the libraries that the loader would give it, under the paths at which the loader looks for them. */
  private static void addProgram(String guestPath, Path program, Map<String, Path> files) throws IOException {
    files.put(guestPath, program.toRealPath());
    if (!dynamic(program)) {
      return;
    }
    new String(Tool.run(Path.of("/"), TOOL_SECONDS, List.of("ldd", program.toString())), StandardCharsets.UTF_8).lines()
        .map(line -> line.substring(line.contains("=>") ? line.indexOf("=>") + 2 : 0).strip())
        .filter(line -> line.startsWith("/"))
        .map(line -> line.split(" ", 2)[0])
        .forEach(library -> files.put(library.substring(1), Path.of(library)));
  }

  /** Whether the ELF file names a loader (the loader's path stands near its start). */
  private static boolean dynamic(Path program) throws IOException {
    try (InputStream in = Files.newInputStream(program)) {
      return new String(in.readNBytes(4096), StandardCharsets.ISO_8859_1).contains("/ld-");
    }
  }

  private static byte[] initScript() throws IOException {
    try (InputStream in = Objects.requireNonNull(LinuxGuest.class.getResourceAsStream("init.sh"), "init.sh")) {
      return in.readAllBytes();
    }
  }

  private static String hash(KernelPackage kernel, Map<String, Path> files, byte[] init) throws IOException {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      StringBuilder inputs = new StringBuilder().append(FORMAT).append('\n').append(identity("kernel " + kernel.release(), kernel.image()));
      for (Map.Entry<String, Path> file : files.entrySet()) {
        inputs.append(identity(file.getKey(), file.getValue()));
      }
      digest.update(inputs.toString().getBytes(StandardCharsets.UTF_8));
      digest.update(init);
      return HexFormat.of().formatHex(digest.digest(), 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String identity(String name, Path file) throws IOException {
    return name + ' ' + Files.size(file) + ' ' + Files.getLastModifiedTime(file).toMillis() + '\n';
  }

  private static void build(Path directory, KernelPackage kernel, Map<String, Path> files, byte[] init) throws IOException {
    Files.copy(kernel.image(), directory.resolve("vmlinuz"));
    try (CpioArchive archive = new CpioArchive(new BufferedOutputStream(Files.newOutputStream(directory.resolve("initramfs")), 1 << 16))) {
      archive.file("init", 0755, init);
      for (String empty : List.of("dev", "proc", "sys", "tmp")) {
        archive.directory(empty);
      }
      for (Map.Entry<String, Path> file : files.entrySet()) {
        archive.file(file.getKey(), 0755, Files.readAllBytes(file.getValue()));
      }
      KernelModules modules = new KernelModules(kernel);
      for (String module : MODULES) {
        if (modules.has(module)) {
          modules.add(module);
        }
      }
      StringBuilder order = new StringBuilder();
      for (Map.Entry<String, byte[]> module : modules.inOrder().entrySet()) {
        archive.file("modules/" + module.getKey() + ".ko", 0644, module.getValue());
        order.append(module.getKey()).append(".ko\n");
      }
      archive.file("modules/order", 0644, order.toString().getBytes(StandardCharsets.UTF_8));
    }
  }
}
