package dev.dyad.engine.guest;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KernelPackageTest {
  @TempDir private Path kernels = Path.of("");

  @Test
  void shouldFindTheNewestOfAFlavourInTheFolderOfItsPackage() throws IOException {
    kernel("6.12.9+deb12-amd64");
    kernel("6.12.117+deb12-amd64");
    kernel("6.12.118+deb12-cloud-amd64");
    kernel("6.1.0-9-cloud-amd64");
    Files.createDirectories(kernels.resolve(".unpack-1"));

    assertEquals(Optional.of("6.12.117+deb12-amd64"), KernelPackage.cached(kernels, KernelPackage.Flavour.FULL).map(KernelPackage::release));
    assertEquals(Optional.of("6.12.118+deb12-cloud-amd64"), KernelPackage.cached(kernels, KernelPackage.Flavour.CLOUD).map(KernelPackage::release));
  }

  @Test
  void shouldFindNoneWhereNothingWasTakenOutOfAPackageYet() {
    assertEquals(Optional.empty(), KernelPackage.cached(kernels, KernelPackage.Flavour.CLOUD));
    assertEquals(Optional.empty(), KernelPackage.cached(kernels.resolve("none"), KernelPackage.Flavour.FULL));
  }

  @Test
  void shouldPutEachModuleAfterWhatItDependsOnOnceAndWithoutBuiltInOnes() throws IOException {
    KernelPackage kernel = kernel("6.12.9+deb12-amd64");
    module(kernel, "net/virtio_net.ko", "net-failover,virtio_ring");
    module(kernel, "net/net_failover.ko", "failover");
    module(kernel, "net/failover.ko", "");
    Files.writeString(kernel.modules().resolve("modules.builtin"), "kernel/drivers/virtio/virtio_ring.ko\n");

    KernelModules modules = new KernelModules(kernel);
    modules.add("failover");
    modules.add("virtio-net");

    assertEquals(List.of("failover", "net_failover", "virtio_net"), List.copyOf(modules.inOrder().keySet()));
    assertArrayEquals(content(""), modules.inOrder().get("failover"));
    assertTrue(modules.has("virtio_ring") && !modules.has("ext4"));
    GuestUnavailableException refusal = assertThrows(GuestUnavailableException.class, () -> modules.add("ext4"));
    assertTrue(String.valueOf(refusal.getMessage()).contains("ext4"));
  }

  private KernelPackage kernel(String release) throws IOException {
    Path folder = kernels.resolve("linux-image-" + release);
    Path image = Files.createDirectories(folder.resolve("boot")).resolve("vmlinuz-" + release);
    Files.writeString(image, release);
    Files.createDirectories(folder.resolve("lib/modules/" + release + "/kernel/drivers/block"));
    return KernelPackage.of(image).orElseThrow();
  }

  private static void module(KernelPackage kernel, String name, String depends) throws IOException {
    Path file = kernel.modules().resolve("kernel/drivers").resolve(name);
    Files.createDirectories(file.resolveSibling(""));
    Files.write(file, content(depends));
  }

  private static byte[] content(String depends) {
    return ("ELF\0alias=x\0depends=" + depends + "\0license=GPL\0").getBytes(StandardCharsets.ISO_8859_1);
  }
}
