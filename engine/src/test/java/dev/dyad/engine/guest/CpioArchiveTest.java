package dev.dyad.engine.guest;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CpioArchiveTest {
  @TempDir
  Path directory;

  @Test
  void shouldBeReadByCpioWithEveryParentOnceAndContentsIntact() throws IOException {
    assumeTrue(Tools.find("busybox") != null, "busybox is not installed: apt-get install busybox-static");
    Path file = directory.resolve("a.cpio");
    try (CpioArchive archive = new CpioArchive(Files.newOutputStream(file))) {
      archive.file("a/b/odd", 0755, "seven b".getBytes(StandardCharsets.UTF_8));
      archive.file("a/b/even", 0644, "eight by".getBytes(StandardCharsets.UTF_8));
      archive.directory("a");
    }
    assertEquals(List.of("a", "a/b", "a/b/odd", "a/b/even"),
        Tools.output(List.of("busybox", "cpio", "-t", "-F", file.toString())).lines().filter(line -> !line.contains("blocks")).toList());
    Tools.run(directory, List.of("busybox", "cpio", "-i", "-F", file.toString()));
    assertEquals("seven b", Files.readString(directory.resolve("a/b/odd")));
    assertEquals("eight by", Files.readString(directory.resolve("a/b/even")));
  }
}
