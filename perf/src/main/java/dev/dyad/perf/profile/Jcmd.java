package dev.dyad.perf.profile;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Commands to another JVM of this user, by the JDK's own tool. jcmd(1). */
final class Jcmd {
  private static final int SECONDS_MAX = 30;
  private static final String NAME = "dyad-profile";

  private final long pid;

  Jcmd(long pid) {
    this.pid = pid;
  }

  /** Begins to record: our events, and samples of CPU time every {@code everyMillis}, where the JVM takes these. */
  void start(int everyMillis) throws IOException {
    List<String> words = new ArrayList<>(List.of("JFR.start", "name=" + NAME, "settings=profile", Recording.CPU_TIME + "#enabled=true", Recording.CPU_TIME + "#throttle=" + everyMillis + "ms"));
    try {
      run(words);
    } catch (IOException e) {
      run(words.subList(0, 3));
    }
  }

  /** Ends it and has it written. */
  void stop(Path file) throws IOException {
    run(List.of("JFR.stop", "name=" + NAME, "filename=" + file.toAbsolutePath()));
  }

  private void run(List<String> words) throws IOException {
    List<String> line = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "jcmd").toString(), Long.toString(pid)));
    line.addAll(words);
    Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
    String answer = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (!process.waitFor(SECONDS_MAX, TimeUnit.SECONDS) || process.exitValue() != 0) {
        throw new IOException("jcmd " + pid + " " + words.getFirst() + ": " + answer.strip().lines().reduce((first, last) -> last).orElse("no answer"));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }
}
