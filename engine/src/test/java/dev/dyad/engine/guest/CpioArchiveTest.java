package dev.dyad.engine.guest;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
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
    assumeTrue(Tool.find("busybox").isPresent(), "busybox is not installed: apt-get install busybox-static");
    Path file = directory.resolve("a.cpio");
    try (CpioArchive archive = new CpioArchive(Files.newOutputStream(file))) {
      archive.file("a/b/odd", 0755, "seven b".getBytes(StandardCharsets.UTF_8));
      archive.file("a/b/even", 0644, "eight by".getBytes(StandardCharsets.UTF_8));
      archive.directory("a");
      archive.symlink("c/link", "../a/b/odd");
      archive.characterDevice("c/null", 1, 3);
    }
    List<String> listing = listing("-tv", file);
    assertEquals(List.of("a", "a/b", "a/b/odd", "a/b/even", "c", "c/link -> ../a/b/odd", "c/null"),
        listing.stream().map(line -> line.replaceFirst(".*\\d{2}:\\d{2}:\\d{2} ", "")).toList());
    assertTrue(listing.getLast().startsWith("crw"), listing.getLast());
    Tool.run(directory, 30, List.of("busybox", "cpio", "-id", "-F", file.toString(), "a/b/odd", "a/b/even", "c/link"));
    assertEquals("seven b", Files.readString(directory.resolve("a/b/odd")));
    assertEquals("eight by", Files.readString(directory.resolve("a/b/even")));
    assertEquals("seven b", Files.readString(directory.resolve("c/link")));
  }

  private List<String> listing(String how, Path file) throws IOException {
    String all = new String(Tool.run(directory, 30, List.of("busybox", "cpio", how, "-F", file.toString())), StandardCharsets.UTF_8);
    return all.lines().filter(line -> !line.contains("blocks")).toList();
  }
}
