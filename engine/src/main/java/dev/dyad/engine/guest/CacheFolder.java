package dev.dyad.engine.guest;

import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/** Where Dyad keeps what it can make again; what is in it appears whole or not at all. */
public final class CacheFolder {
  private CacheFolder() {}

  /** {@code $XDG_CACHE_HOME/dyad}, else {@code ~/.cache/dyad}. */
  public static Path path() {
    String base = System.getenv("XDG_CACHE_HOME");
    return base != null && base.startsWith("/") ? Path.of(base, "dyad") : Path.of(System.getProperty("user.home"), ".cache", "dyad");
  }

  /** Renames a finished directory to its name; when another process was faster, its result stays and ours goes. */
  static void moveIntoPlace(Path finished, Path target) throws IOException {
    try {
      Files.move(finished, target, StandardCopyOption.ATOMIC_MOVE);
    } catch (FileSystemException e) {
      if (!Files.isDirectory(target)) {
        throw e;
      }
      deleteTree(finished);
    }
  }

  /** Deletes a folder and all below it; a path that is not there is fine. */
  public static void deleteTree(Path folder) throws IOException {
    if (!Files.exists(folder)) {
      return;
    }
    try (Stream<Path> all = Files.walk(folder)) {
      List<Path> inOrder = all.sorted(Comparator.reverseOrder()).toList();
      for (Path path : inOrder) {
        Files.deleteIfExists(path);
      }
    }
  }
}
