package dev.dyad.hwtests.demo;

import dev.dyad.engine.json.Json;
import java.io.PrintWriter;
import java.util.List;

/** The lines that a demo shows: steps that stay, and below them a status that is rewritten in place on a terminal. */
final class Progress {
  private static final int COLUMNS = 80;
  private static final String INDENT = " ".repeat("[  0.0 s] ".length());

  /** A line wider than the terminal is cut, not continued on the next, which could not be taken back. */
  private static final String NO_WRAP = "\033[?7l";

  private static final String WRAP = "\033[?7h";

  private final PrintWriter out;
  private final boolean inPlace;
  private final long started = System.nanoTime();
  private int statusLines;

  Progress(PrintWriter out) {
    this(out, System.console() != null && System.console().isTerminal());
  }

  /** @param inPlace whether {@code out} is a terminal */
  Progress(PrintWriter out, boolean inPlace) {
    this.out = out;
    this.inPlace = inPlace;
  }

  /** A step of the story. */
  void step(String text) {
    clearStatus();
    String line = String.format("[%5.1f s] %s", (System.nanoTime() - started) / 1e9, text);
    out.println(inPlace ? folded(line) : line);
    out.flush();
  }

  /** How the epochs of a protected guest go, by its node's status. */
  void epochs(Json node, long acked) {
    Json pause = node.get("pauseMicros");
    status(
        List.of(
            String.format("epoch %,d  pause p50 %.0f µs p99 %.0f µs  dirty pages p50 %,d",
                node.get("epoch").number(0), number(pause, "p50"), number(pause, "p99"), node.get("dirtyPages").get("p50").number(0)),
            String.format("held packets %d  commit age %.1f ms  acknowledged %,d", node.get("heldPackets").number(0), number(node, "commitAgeMillis"), acked)));
  }

  /** How it goes at this moment; lines of at most 70 characters, which elsewhere than on a terminal are one. */
  void status(List<String> lines) {
    if (inPlace) {
      clearStatus();
      lines.forEach(line -> out.print(NO_WRAP + INDENT + line + WRAP + "\n"));
      statusLines = lines.size();
    } else {
      out.println(INDENT + String.join("  ", lines));
    }
    out.flush();
  }

  private void clearStatus() {
    if (statusLines > 0) {
      out.print("\033[" + statusLines + "A\r\033[J");
      statusLines = 0;
    }
  }

  /** Broken between words, so that no terminal breaks it within one. */
  private static String folded(String line) {
    StringBuilder folded = new StringBuilder();
    int column = 0;
    for (String word : line.split("(?<=\\s)(?=\\S)")) {
      if (column > INDENT.length() && column + word.stripTrailing().length() > COLUMNS) {
        folded.append(System.lineSeparator()).append(INDENT);
        column = INDENT.length();
      }
      folded.append(word);
      column += word.length();
    }
    return folded.toString();
  }

  /** A figure of a report; 0 where there is none yet. */
  static double number(Json json, String name) {
    Json value = json.get(name);
    return value.isAbsent() || value.toString().equals("null") ? 0 : Double.parseDouble(value.toString());
  }
}
