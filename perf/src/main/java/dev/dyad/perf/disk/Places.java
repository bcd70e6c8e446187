package dev.dyad.perf.disk;

import static dev.dyad.bindings.abi.linux.linux_h.O_CREAT;
import static dev.dyad.bindings.abi.linux.linux_h.O_DIRECT;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;

import dev.dyad.bindings.linux.FileDescriptor;
import java.io.IOException;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Where the two images lie. Two hosts have a disk each; on one host with one disk the standby's image lies in memory, so that the two sides do not take each other's
 * disk away, or beside the primary's, where they do.
 *
 * @param primary folder of the primary's image
 * @param standby folder of the standby's
 */
record Places(Path primary, Path standby) {
  private static final Path MEMORY = Path.of("/dev/shm");

  /** Memory is left to everybody else, too. */
  private static final int PART_OF_MEMORY = 2;

  /** With the standby's image in memory, if there is room for that many bytes and direct access; else beside the primary's. */
  static Places of(Path primary, long bytes) throws IOException {
    boolean inMemory = Files.isDirectory(MEMORY) && Files.getFileStore(MEMORY).getUsableSpace() / PART_OF_MEMORY > bytes && isDirect(MEMORY);
    return new Places(primary, inMemory ? MEMORY : primary);
  }

  private static boolean isDirect(Path folder) throws IOException {
    Path probe = Files.createTempFile(folder, "dyad-disk", "");
    try {
      int fd = dev.dyad.bindings.linux.Files.tryOpen(probe.toString(), O_RDWR() | O_CREAT() | O_DIRECT(), 0600);
      if (fd >= 0) {
        FileDescriptor.adopt(fd).close();
      }
      return fd >= 0;
    } finally {
      Files.deleteIfExists(probe);
    }
  }

  /** Whether both images lie on one device. */
  boolean isOneDevice() throws IOException {
    return Files.getFileStore(primary).equals(Files.getFileStore(standby));
  }

  /** What a reader must know to judge the figures. */
  Map<String, Object> report() throws IOException {
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("primary", text(primary));
    report.put("standby", text(standby));
    report.put("oneDevice", isOneDevice());
    return report;
  }

  private static String text(Path folder) throws IOException {
    FileStore store = Files.getFileStore(folder);
    return folder + " (" + store.type() + " on " + store.name() + ")";
  }
}
