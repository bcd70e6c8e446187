package dev.dyad.perf.qemu;

import dev.dyad.engine.json.Json;
import dev.dyad.perf.pair.LinuxPair;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/** A {@link MeasuredPrimary}, seen from its parent. One thread. */
final class PrimaryProcess {
  private final LinuxPair pair;
  private final Process process;
  private final BufferedReader answers;
  private final OutputStream commands;

  PrimaryProcess(LinuxPair pair) {
    this.pair = pair;
    process = pair.startJavaInside(MeasuredPrimary.class.getName());
    answers = process.inputReader(StandardCharsets.UTF_8);
    commands = process.getOutputStream();
  }

  long pid() {
    return process.pid();
  }

  /**
   * @throws IllegalStateException with its own words when it could not
   */
  Json tell(String command) {
    try {
      commands.write((command + "\n").getBytes(StandardCharsets.UTF_8));
      commands.flush();
      String line = answers.readLine();
      if (line == null) {
        throw new IllegalStateException("the measured primary has ended at '" + command + "'\n" + pair.logs());
      }
      Json answer = Json.parse(line);
      if (!answer.get("error").isAbsent()) {
        throw new IllegalStateException(command.split(" ")[0] + ": " + answer.get("error").text());
      }
      return answer;
    } catch (IOException e) {
      throw new UncheckedIOException("the measured primary (pid " + process.pid() + ") does not answer", e);
    }
  }

  /** Attaches and waits until the guest is protected. */
  void attach(long periodNanos, Duration bound, boolean adaptive, Duration patience) {
    tell("attach " + pair.guest().qmp() + " " + pair.to() + " " + periodNanos + " " + bound.toNanos() + (adaptive ? " adaptive" : " fixed"));
    long end = System.nanoTime() + patience.toNanos();
    for (Json state = tell("state"); !state.get("protected").isTrue(); state = tell("state")) {
      if (System.nanoTime() > end) {
        throw new IllegalStateException("the guest was not protected within " + patience.toSeconds() + " s: " + state.get("why").text() + "\n" + pair.logs());
      }
      Waiting.seconds(0.05);
    }
  }
}
