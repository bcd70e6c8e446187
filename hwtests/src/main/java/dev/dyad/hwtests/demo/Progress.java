package dev.dyad.hwtests.demo;

import java.io.PrintWriter;

/** The lines that a demo shows: steps that stay, and a status that is rewritten in place on a terminal. */
final class Progress {
  /** A line wider than the terminal is cut, not continued on the next, which could not be taken back. */
  private static final String NO_WRAP = "\033[?7l";

  private static final String WRAP = "\033[?7h";

  private final PrintWriter out;
  private final boolean inPlace;
  private final long started = System.nanoTime();
  private boolean statusShown;

  Progress(PrintWriter out) {
    this.out = out;
    inPlace = System.console() != null && System.console().isTerminal();
  }

  /** A step of the story. */
  void step(String text) {
    clearStatus();
    out.printf("[%5.1f s] %s%n", (System.nanoTime() - started) / 1e9, text);
    out.flush();
  }

  /** How it goes at this moment. */
  void status(String text) {
    if (inPlace) {
      clearStatus();
      out.print(NO_WRAP + "          " + text + WRAP);
      statusShown = true;
    } else {
      out.println("          " + text);
    }
    out.flush();
  }

  private void clearStatus() {
    if (statusShown) {
      out.print("\r\033[K");
      statusShown = false;
    }
  }
}
