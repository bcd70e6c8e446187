package dev.dyad.engine.guest;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** A program of the host, run to its end within a bound. */
public final class Tool {
  private static final List<String> MORE_PLACES = List.of("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/bin");

  private Tool() {}

  /** Where the program is, from PATH and then the folders that a user's PATH often lacks. */
  public static Optional<Path> find(String name) {
    List<String> folders = new ArrayList<>();
    String path = System.getenv("PATH");
    if (path != null) {
      folders.addAll(List.of(path.split(":")));
    }
    folders.addAll(MORE_PLACES);
    return folders.stream().filter(folder -> !folder.isEmpty()).map(folder -> Path.of(folder, name))
        .filter(file -> Files.isExecutable(file) && !Files.isDirectory(file)).findFirst();
  }

  /**
   * Where the program is.
   *
   * @throws GuestUnavailableException naming the package to install
   */
  public static Path require(String name, String debianPackage) {
    return find(name).orElseThrow(() -> new GuestUnavailableException(name + " is not installed: apt-get install " + debianPackage));
  }

  /**
   * Runs a command in {@code folder} and gives what it printed on its standard output.
   *
   * @throws IOException when it cannot be started, ends with another code than 0 or does not end within {@code seconds}
   */
  public static byte[] run(Path folder, int seconds, List<String> command) throws IOException {
    Process process = new ProcessBuilder(command).directory(folder.toFile()).redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile())).start();
    try {
      // A thread for each pipe: the common pool has but one on a machine of two processors, and a full pipe stops the program.
      CompletableFuture<byte[]> errors = new CompletableFuture<>();
      CompletableFuture<byte[]> output = new CompletableFuture<>();
      Thread.ofPlatform().daemon().start(() -> errors.complete(drain(process.getErrorStream())));
      Thread.ofPlatform().daemon().start(() -> output.complete(drain(process.getInputStream())));
      if (!process.waitFor(seconds, TimeUnit.SECONDS)) {
        throw new IOException(command.getFirst() + " did not end within " + seconds + " s: " + String.join(" ", command));
      }
      if (process.exitValue() != 0) {
        String text = new String(errors.join(), StandardCharsets.UTF_8).strip();
        throw new IOException(command.getFirst() + " ended with " + process.exitValue() + ": " + text);
      }
      return output.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while waiting for " + command.getFirst(), e);
    } finally {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
  }

  private static byte[] drain(InputStream in) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    try (in) {
      in.transferTo(all);
    } catch (IOException e) {
      return all.toByteArray(); // the process was ended: what came until then
    }
    return all.toByteArray();
  }
}
