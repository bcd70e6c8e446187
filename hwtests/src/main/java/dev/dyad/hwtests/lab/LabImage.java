package dev.dyad.hwtests.lab;

import dev.dyad.engine.guest.CacheFolder;
import dev.dyad.engine.guest.CpioArchive;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.KernelModules;
import dev.dyad.engine.guest.KernelPackage;
import dev.dyad.engine.guest.Tool;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;

/**
 * Kernel and initial file system of a lab host: busybox, the modules and one script. Everything else comes from the host's own
 * file system at run time, so the image is small and is made once per kernel, busybox and script.
 */
record LabImage(Path kernel, Path initramfs) {
  /** crc32_generic is nobody's dependency, and without it `rdma link add` says "No such file or directory". */
  private static final List<String> BOOT_MODULES = List.of("virtio_pci", "virtio_console", "virtio_net", "crc32_generic", "rdma_rxe", "ib_uverbs", "rdma_ucm",
      "9pnet_virtio", "9p", "sch_netem");
  private static final List<String> DUMMY_MODULES = List.of("dummy");
  private static final List<String> KVM_MODULES = List.of("kvm-amd", "kvm-intel");

  static LabImage obtain() throws IOException, GuestUnavailableException {
    var kernel = KernelPackage.obtain(KernelPackage.Flavour.FULL);
    var busybox = Tool.find("busybox").orElseThrow(() -> new GuestUnavailableException("no busybox here: apt-get install busybox-static"));
    byte[] shell = Files.readAllBytes(busybox);
    if (new String(shell, StandardCharsets.ISO_8859_1).contains("/lib64/ld-linux")) {
      throw new GuestUnavailableException(busybox + " is not statically linked: apt-get install busybox-static");
    }
    byte[] init = init();
    var hash = sha256();
    hash.update(kernel.modules().toString().getBytes(StandardCharsets.UTF_8));
    hash.update(shell);
    hash.update(init);
    hash.update((BOOT_MODULES + "|" + DUMMY_MODULES + "|" + KVM_MODULES).getBytes(StandardCharsets.UTF_8));
    var folder = CacheFolder.path().resolve("lab");
    var image = folder.resolve("initramfs-" + HexFormat.of().formatHex(hash.digest(), 0, 12) + ".cpio");
    if (!Files.exists(image)) {
      Files.createDirectories(folder);
      var work = Files.createTempFile(folder, "initramfs", ".new");
      try {
        write(work, kernel, shell, init);
        Files.move(work, image, StandardCopyOption.ATOMIC_MOVE);
      } finally {
        Files.deleteIfExists(work);
      }
    }
    return new LabImage(kernel.image(), image);
  }

  private static void write(Path target, KernelPackage kernel, byte[] shell, byte[] init) throws IOException, GuestUnavailableException {
    try (var cpio = new CpioArchive(new BufferedOutputStream(Files.newOutputStream(target)))) {
      for (var folder : List.of("bin", "dev", "modules")) {
        cpio.directory(folder);
      }
      cpio.characterDevice("dev/console", 5, 1);
      cpio.file("bin/busybox", 0755, shell);
      cpio.file("init", 0755, init);
      var modules = new KernelModules(kernel);
      // Each list names only what the lists before it do not.
      addList(cpio, modules, "boot", BOOT_MODULES);
      addList(cpio, modules, "dummy", DUMMY_MODULES);
      addList(cpio, modules, "kvm", KVM_MODULES);
      for (var module : modules.inOrder().entrySet()) {
        cpio.file("modules/" + module.getKey() + ".ko", 0644, module.getValue());
      }
    }
  }

  private static void addList(CpioArchive cpio, KernelModules modules, String name, List<String> wanted) throws IOException, GuestUnavailableException {
    var before = List.copyOf(modules.inOrder().keySet());
    for (var module : wanted) {
      modules.add(module);
    }
    var lines = new StringBuilder();
    modules.inOrder().keySet().stream().filter(m -> !before.contains(m)).forEach(m -> lines.append(m).append('\n'));
    cpio.file("modules/" + name, 0644, lines.toString().getBytes(StandardCharsets.UTF_8));
  }

  private static byte[] init() throws IOException {
    try (var in = LabImage.class.getResourceAsStream("init")) {
      if (in == null) {
        throw new IllegalStateException("resource init is missing beside " + LabImage.class.getName());
      }
      return in.readAllBytes();
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every Java platform has it
    }
  }
}
