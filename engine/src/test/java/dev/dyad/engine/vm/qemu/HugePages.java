package dev.dyad.engine.vm.qemu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** Some 2 MiB pages of the machine's, reserved for a test where that is allowed and given back at its end; a skip with its reason otherwise. */
record HugePages(long before) implements AutoCloseable {
  private static final Path FOLDER = Path.of("/sys/kernel/mm/hugepages/hugepages-2048kB");

  static HugePages reserve(int pages) throws IOException {
    Assumptions.assumeTrue(Files.exists(FOLDER), "this kernel has no 2 MiB pages");
    long before = read("nr_hugepages");
    HugePages reserved = new HugePages(before);
    if (read("free_hugepages") < pages) {
      Assumptions.assumeTrue(Files.isWritable(FOLDER.resolve("nr_hugepages")), "no " + pages + " free huge pages: sysctl vm.nr_hugepages=" + (before + pages));
      write(before + pages);
      if (read("free_hugepages") < pages) {
        reserved.close();
        Assumptions.abort("memory is too fragmented for " + pages + " huge pages");
      }
    }
    return reserved;
  }

  long inUse() throws IOException {
    return read("nr_hugepages") - read("free_hugepages");
  }

  private static long read(String name) throws IOException {
    return Long.parseLong(Files.readString(FOLDER.resolve(name)).strip());
  }

  private static void write(long pages) throws IOException {
    Files.writeString(FOLDER.resolve("nr_hugepages"), Long.toString(pages));
  }

  @Override
  public void close() throws IOException {
    if (read("nr_hugepages") != before) {
      write(before);
    }
  }
}
