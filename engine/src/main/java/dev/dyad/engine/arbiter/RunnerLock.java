package dev.dyad.engine.arbiter;

import static dev.dyad.bindings.abi.linux.linux_h.O_CREAT;
import static dev.dyad.bindings.abi.linux.linux_h.O_RDWR;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Held by the one process of a host that is entitled to release a guest's output: a second {@code attach} to the same guest gets a
 * refusal with the name of the first. The kernel gives it back when the holder dies.
 *
 * <p>It is not what decides after a failure: a stopped primary still holds its lock. Then the generation decides
 * ({@link FileArbiter#newest}), and the winner uses a lock file of its own side.
 *
 * <p>Control thread. The file is left behind on purpose: removing it would let two processes lock two files of one name.
 */
public final class RunnerLock implements AutoCloseable {
  private final FileDescriptor file;

  private RunnerLock(FileDescriptor file) {
    this.file = file;
  }

  /**
   * @param path one file for each guest
   * @param holder who asks, as {@link #holderOf} tells it to others: {@code "pid 4711 (dyad attach)"}
   * @return null when somebody else holds it
   */
  public static @Nullable RunnerLock tryAcquire(Path path, String holder) {
    FileDescriptor file = Files.open(path.toString(), O_RDWR() | O_CREAT(), 0600);
    boolean acquired = false;
    try {
      acquired = HostLock.acquire(file.fd(), 0);
      if (!acquired) {
        return null;
      }
      // Through the path: nobody removes or replaces it, and only the holder writes.
      java.nio.file.Files.writeString(path, holder + "\n");
      return new RunnerLock(file);
    } catch (IOException e) {
      acquired = false;
      throw new IllegalStateException("lock file " + path + " cannot be written: " + e.getMessage(), e);
    } finally {
      if (!acquired) {
        file.close();
      }
    }
  }

  /** What the holder, or the last one, called itself; empty when nobody ever held it. */
  public static String holderOf(Path path) {
    try {
      return new String(java.nio.file.Files.readAllBytes(path), StandardCharsets.UTF_8).strip();
    } catch (IOException e) {
      return "";
    }
  }

  @Override
  public void close() {
    file.close();
  }
}
