package dev.dyad.perf;

import dev.dyad.engine.guest.CacheFolder;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/**
 * A C program of {@code perf/native}, built by this machine's C compiler when it is first asked for, and kept in the
 * {@link CacheFolder} under a hash of source and command line.
 */
public final class NativeProgram {
  private static final List<String> FLAGS = List.of("-O2", "-std=gnu11", "-Wall", "-Wextra");

  private NativeProgram() {}

  /**
   * @param name of the source without {@code .c}
   * @param libraries such as {@code -luring}
   * @return the executable
   * @throws IllegalStateException with one line when there is no compiler or it refuses
   */
  public static Path build(String name, String... libraries) {
    byte[] source = source(name + ".c");
    List<String> options = new ArrayList<>(FLAGS);
    List<String> link = List.of(libraries);
    Path cache = CacheFolder.path();
    Path program = cache.resolve(name + "-" + hash(source, options, link));
    if (Files.isExecutable(program)) {
      return program;
    }
    try {
      Files.createDirectories(cache);
      Path work = Files.createTempDirectory(cache, "." + name);
      Path file = Files.write(work.resolve(name + ".c"), source);
      Path built = work.resolve(name);
      List<String> line = new ArrayList<>(List.of("cc"));
      line.addAll(options);
      line.addAll(List.of("-o", built.toString(), file.toString()));
      line.addAll(link);
      compile(name, line);
      Files.move(built, program, StandardCopyOption.ATOMIC_MOVE);
      Files.delete(file);
      Files.delete(work);
      return program;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void compile(String name, List<String> line) throws IOException {
    Process compiler;
    try {
      compiler = new ProcessBuilder(line).redirectErrorStream(true).start();
    } catch (IOException e) {
      throw new IllegalStateException("the C baseline " + name + " needs a C compiler, and cc was not found: apt-get install gcc libc6-dev", e);
    }
    String said = new String(compiler.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (compiler.waitFor() != 0) {
        throw new IllegalStateException("cc refused " + name + ".c: " + said.strip());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while cc ran", e);
    }
  }

  private static byte[] source(String file) {
    try (InputStream in = NativeProgram.class.getResourceAsStream("/native/" + file)) {
      if (in == null) {
        throw new IllegalArgumentException("no perf/native/" + file);
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String hash(byte[] source, List<String> options, List<String> link) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      digest.update(source);
      digest.update((options + " " + link).getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest.digest(), 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
