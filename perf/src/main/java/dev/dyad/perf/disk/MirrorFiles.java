package dev.dyad.perf.disk;

import dev.dyad.engine.disk.DiskFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The two images, and what lies beside them; {@link #close} removes them all. */
final class MirrorFiles implements AutoCloseable {
  private final Path folder;
  private final Path standbyFolder;
  private final long bytes;

  MirrorFiles(Places places, int megabytes) throws IOException, InterruptedException {
    folder = Files.createTempDirectory(places.primary(), "dyad-disk");
    standbyFolder = Files.createTempDirectory(places.standby(), "dyad-disk");
    bytes = (long) megabytes << 20;
    // Written once, so that nobody is measured while the file system allocates.
    byte[] chunk = new byte[1 << 20];
    for (Path file : new Path[] {one(), two()}) {
      try (var stream = Files.newOutputStream(file)) {
        for (int i = 0; i < megabytes; i++) {
          stream.write(chunk);
        }
      }
      new ProcessBuilder("sync", file.toString()).start().waitFor();
    }
  }

  Path one() {
    return folder.resolve("one");
  }

  Path two() {
    return standbyFolder.resolve("two");
  }

  long bytes() {
    return bytes;
  }

  /** A mirror of both, as strangers to each other; level. */
  MirrorPair pair(String link, boolean durable) throws IOException {
    forget();
    return new MirrorPair(one(), two(), link, durable);
  }

  private void forget() throws IOException {
    for (Path file : new Path[] {one(), two()}) {
      Files.deleteIfExists(DiskFiles.metadata(file));
      Files.deleteIfExists(DiskFiles.log(file));
    }
  }

  @Override
  public void close() throws IOException {
    forget();
    for (Path file : new Path[] {one(), two(), folder, standbyFolder}) {
      Files.deleteIfExists(file);
    }
  }
}
