package dev.dyad.engine.observe;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.Stream;

/**
 * The folder in which the nodes of one user on one host find each other: status sockets, markers of running attachments, the
 * generation file of pairs that share a host. Readable by its owner only.
 */
public final class RuntimeDirectory {
  private RuntimeDirectory() {}

  /** {@code $DYAD_RUNTIME_DIR}, else {@code /run/dyad} for root, else {@code $XDG_RUNTIME_DIR/dyad}, else {@code /tmp/dyad-USER}; made when missing. */
  public static Path path() {
    String chosen = System.getenv("DYAD_RUNTIME_DIR");
    String user = System.getProperty("user.name");
    String perUser = System.getenv("XDG_RUNTIME_DIR");
    Path path =
        chosen != null
            ? Path.of(chosen)
            : user.equals("root")
                ? Path.of("/run/dyad")
                : perUser != null ? Path.of(perUser, "dyad") : Path.of("/tmp", "dyad-" + user);
    try {
      Files.createDirectories(path, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } catch (IOException e) {
      throw new UncheckedIOException("runtime directory " + path + " cannot be made (" + e.getMessage() + "); set DYAD_RUNTIME_DIR", e);
    }
    return path;
  }

  /** Where the nodes answer; one that has died may have left its socket behind. */
  public static List<Path> statusSockets() throws IOException {
    try (Stream<Path> files = Files.list(path())) {
      return files.filter(file -> file.getFileName().toString().endsWith(StatusEndpoint.ENDING)).toList();
    }
  }
}
