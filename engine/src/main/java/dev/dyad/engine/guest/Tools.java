package dev.dyad.engine.guest;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The distribution's own tools, run to their end, and directories that appear whole or not at all. */
final class Tools {
  private Tools() {}

  /** Finds an executable on PATH and in the system's sbin directories. */
  static @Nullable Path find(String tool) {
    String path = System.getenv().getOrDefault("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin";
    for (String directory : path.split(":")) {
      Path file = Path.of(directory, tool);
      if (!directory.isEmpty() && Files.isExecutable(file) && !Files.isDirectory(file)) {
        return file;
      }
    }
    return null;
  }

  /** The first of the tools that is not there, or null. */
  static @Nullable String missing(String... tools) {
    for (String tool : tools) {
      if (find(tool) == null) {
        return tool;
      }
    }
    return null;
  }

  static void run(Path directory, List<String> command) throws IOException {
    await(new ProcessBuilder(command).directory(directory.toFile()).redirectErrorStream(true).start(), command);
  }

  static String output(List<String> command) throws IOException {
    return await(new ProcessBuilder(command).redirectErrorStream(true).start(), command);
  }

  static void pipe(List<String> producer, List<String> consumer) throws IOException {
    List<Process> processes = ProcessBuilder.startPipeline(List.of(
        new ProcessBuilder(producer).redirectError(ProcessBuilder.Redirect.DISCARD), new ProcessBuilder(consumer).redirectErrorStream(true)));
    await(processes.get(1), consumer);
  }

  private static String await(Process process, List<String> command) throws IOException {
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      int code = process.waitFor();
      if (code != 0) {
        throw new IOException(String.join(" ", command) + " ended with " + code + ": " + output.strip().lines().reduce("", (a, b) -> b));
      }
    } catch (InterruptedException e) {
      process.destroy();
      Thread.currentThread().interrupt();
      throw new IOException("interrupted in " + command.getFirst(), e);
    }
    return output;
  }

  /** A module's content, decompressed by the tool that its name asks for. */
  static byte[] decompressed(Path file) throws IOException {
    String name = file.toString();
    String tool = name.endsWith(".xz") ? "xz" : name.endsWith(".zst") ? "zstd" : name.endsWith(".gz") ? "gzip" : "";
    if (tool.isEmpty()) {
      return Files.readAllBytes(file);
    }
    Process process = new ProcessBuilder(tool, "-dc", name).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    byte[] content = process.getInputStream().readAllBytes();
    if (content.length == 0) {
      throw new IOException(tool + " -dc " + name + " gave nothing");
    }
    return content;
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

  static void deleteTree(Path directory) {
    if (!Files.exists(directory)) {
      return;
    }
    try (Stream<Path> tree = Files.walk(directory)) {
      for (Path file : tree.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
