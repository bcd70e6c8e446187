package dev.dyad.perf.kvm;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;

/** {@link EpochStandby} as a process of its own, on the same JDK and class path. */
final class StandbyProcess implements AutoCloseable {
  private final Process process;
  private final BufferedReader out;
  private final String socket;

  StandbyProcess(Path directory) {
    socket = directory.resolve("link").toString();
    ProcessBuilder builder =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(), "--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC", "-Xms64m", "-Xmx256m",
            "-XX:+AlwaysPreTouch", "-cp", System.getProperty("java.class.path"), EpochStandby.class.getName(), socket, Long.toString(ProcessHandle.current().pid()));
    try {
      process = builder.redirectErrorStream(true).start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    out = process.inputReader();
    String first = answer();
    if (!first.equals("listening")) {
      throw new IllegalStateException("the standby's process said: " + first);
    }
  }

  String socket() {
    return socket;
  }

  /** The next line that it prints. */
  String answer() {
    try {
      String line = out.readLine();
      if (line == null) {
        throw new IllegalStateException("the standby's process ended");
      }
      return line;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
