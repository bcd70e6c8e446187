package dev.dyad.engine.vm.qemu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** The kernel's choice of 2 MiB pages for private memory, set for a test where that is allowed and set back at its end. */
record TransparentHugePages(String before) implements AutoCloseable {
  private static final Path CHOICE = Path.of("/sys/kernel/mm/transparent_hugepage/enabled");

  /** QEMU asks for them (madvise), so that only {@code never} keeps them from its guests; {@code always} gives them to all. */
  static TransparentHugePages always() throws IOException {
    Assumptions.assumeTrue(Files.exists(CHOICE), "this kernel has no transparent huge pages");
    String chosen = Files.readString(CHOICE).replaceAll("(?s).*\\[(\\w+)].*", "$1");
    if (Files.isWritable(CHOICE)) {
      Files.writeString(CHOICE, "always");
    } else {
      Assumptions.assumeFalse(chosen.equals("never"), "transparent huge pages are off: echo madvise > " + CHOICE);
    }
    return new TransparentHugePages(chosen);
  }

  /** How much of a process's private memory lies on them. */
  static long kib(long pid) throws IOException {
    return Files.readAllLines(Path.of("/proc/" + pid + "/smaps_rollup")).stream()
        .filter(line -> line.startsWith("AnonHugePages:")).mapToLong(line -> Long.parseLong(line.replaceAll("\\D", ""))).sum();
  }

  @Override
  public void close() throws IOException {
    if (Files.isWritable(CHOICE)) {
      Files.writeString(CHOICE, before);
    }
  }
}
