package dev.dyad.nic;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Runs short commands and says what came of them. */
final class Commands {
  private static final int SECONDS_MAX = 20;

  /** Exit code and combined output of one. */
  record Result(int exit, String output) {}

  private Commands() {}

  static Result run(List<String> command) {
    List<String> line = located(command);
    Process process;
    try {
      process = new ProcessBuilder(line).redirectErrorStream(true).redirectInput(ProcessBuilder.Redirect.from(new File("/dev/null"))).start();
    } catch (IOException e) {
      return new Result(127, "'" + line.getFirst() + "' cannot be started: is it installed? (Debian: apt install iproute2 util-linux)");
    }
    try {
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      if (!process.waitFor(SECONDS_MAX, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        return new Result(124, "took longer than " + SECONDS_MAX + " s");
      }
      return new Result(process.exitValue(), output.strip());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      return new Result(130, "interrupted");
    }
  }

  /** {@code ip} and the like live where an ordinary user's PATH does not look. */
  static List<String> located(List<String> command) {
    List<String> line = new ArrayList<>(command);
    for (int i = 0; i < line.size(); i++) {
      if (line.get(i).equals("ip") && (i == 0 || line.get(i - 1).equals("--"))) {
        for (String folder : List.of("/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/")) {
          if (new File(folder + "ip").canExecute()) {
            line.set(i, folder + "ip");
            break;
          }
        }
      }
    }
    return line;
  }

  static String shown(List<String> command) {
    return String.join(" ", command);
  }
}
