package dev.dyad.engine.vm.qemu;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** A hugetlbfs of 2 MiB pages, mounted for a test at a folder whose name says nothing of it. */
record HugePageMount(Path folder) implements AutoCloseable {

  static HugePageMount make() throws Exception {
    Path folder = Files.createTempDirectory("dyad-memory");
    boolean mounted = run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder.toString()) == 0;
    if (!mounted) {
      Files.delete(folder);
    }
    Assumptions.assumeTrue(mounted, "a hugetlbfs cannot be mounted here");
    return new HugePageMount(folder);
  }

  private static int run(String... command) throws Exception {
    return new ProcessBuilder(command).inheritIO().start().waitFor();
  }

  @Override
  public void close() throws Exception {
    run("umount", "--lazy", folder.toString());
    Files.delete(folder);
  }
}
