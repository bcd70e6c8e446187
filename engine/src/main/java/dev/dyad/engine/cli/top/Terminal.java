package dev.dyad.engine.cli.top;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * The terminal of a command that draws in place: keys come one by one and unseen, the screen is a second one, and {@link #close} puts
 * everything back. One thread.
 */
final class Terminal implements AutoCloseable {
  private static final String ENTER = "\033[?1049h\033[?25l";
  private static final String LEAVE = "\033[?25h\033[?1049l";
  private static final int COLUMNS = 80;
  private static final int ROWS = 24;

  private final PrintWriter out;
  private final @Nullable String settings;

  Terminal(PrintWriter out) {
    this.out = out;
    settings = stty("-g");
    if (settings != null) {
      stty("-icanon", "-echo", "min", "0", "time", "0");
    }
    out.print(ENTER);
    out.flush();
  }

  /** Whether input and output are one. */
  static boolean isPresent() {
    return System.console() != null && System.console().isTerminal();
  }

  /** {rows, columns} at this moment. */
  int[] size() {
    String answer = stty("size");
    try {
      String[] words = answer == null ? new String[0] : answer.split(" ");
      int rows = Integer.parseInt(words[0]);
      int columns = Integer.parseInt(words[1]);
      return rows > 0 && columns > 0 ? new int[] {rows, columns} : new int[] {ROWS, COLUMNS};
    } catch (NumberFormatException | ArrayIndexOutOfBoundsException e) {
      return new int[] {ROWS, COLUMNS};
    }
  }

  void draw(List<String> lines) {
    StringBuilder screen = new StringBuilder("\033[H");
    for (int i = 0; i < lines.size(); i++) {
      screen.append(lines.get(i)).append("\033[K").append(i + 1 < lines.size() ? "\r\n" : "");
    }
    out.print(screen.append("\033[J"));
    out.flush();
  }

  /** Whether {@code q} or the end of input has come. */
  boolean quitAsked() {
    try {
      InputStream in = System.in;
      while (settings != null && in.available() > 0) {
        int key = in.read();
        if (key == 'q' || key == 'Q') {
          return true;
        }
      }
      return false;
    } catch (IOException e) {
      return true;
    }
  }

  @Override
  public void close() {
    out.print(LEAVE);
    out.flush();
    if (settings != null) {
      stty(settings);
    }
  }

  /** stty(1) on this terminal; null when it refuses or is not there. */
  private static @Nullable String stty(String... words) {
    String[] line = new String[words.length + 1];
    line[0] = "stty";
    System.arraycopy(words, 0, line, 1, words.length);
    try {
      Process process = new ProcessBuilder(line).redirectInput(ProcessBuilder.Redirect.INHERIT).redirectError(ProcessBuilder.Redirect.DISCARD).start();
      String answer = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      return process.waitFor(2, TimeUnit.SECONDS) && process.exitValue() == 0 ? answer : null;
    } catch (IOException e) {
      return null;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return null;
    }
  }
}
