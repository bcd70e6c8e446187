package dev.dyad.engine.cli.top;

import java.util.ArrayList;
import java.util.List;

/** A terminal's contents: as many lines as it has at most, none longer than it is wide. Pure. */
final class TopScreen {
  private static final String BOLD = "\033[1m";
  private static final String GREEN = "\033[32m";
  private static final String RED = "\033[31m";
  private static final String PLAIN = "\033[0m";

  private TopScreen() {}

  static List<String> lines(List<NodeRow> rows, String clock, String emptyLine, int columns, int rowsMax) {
    List<String> lines = new ArrayList<>();
    long isProtected = rows.stream().filter(row -> row.now().isProtected()).count();
    String head = "dyad top  " + clock + "  " + rows.size() + (rows.size() == 1 ? " node, " : " nodes, ") + isProtected + " protected";
    String hint = "q quits";
    lines.add(BOLD + cut(head + " ".repeat(Math.max(2, columns - head.length() - hint.length())) + hint, columns) + PLAIN);
    if (rows.isEmpty()) {
      lines.add("");
      lines.add(cut(emptyLine, columns));
    }
    for (NodeRow row : rows) {
      lines.add("");
      lines.add((row.now().isProtected() ? GREEN : RED) + cut(row.title(), columns) + PLAIN);
      for (String group : row.figures()) {
        lines.add(cut("  " + group, columns));
      }
      if (!row.now().why().isEmpty()) {
        lines.add(cut("  " + row.now().why(), columns));
      }
    }
    if (lines.size() > rowsMax) {
      int hidden = lines.size() - rowsMax + 1;
      lines = new ArrayList<>(lines.subList(0, rowsMax - 1));
      lines.add(cut("… " + hidden + " lines more: dyad top NAME shows one node", columns));
    }
    return lines;
  }

  private static String cut(String line, int columns) {
    return line.length() <= columns ? line : line.substring(0, Math.max(0, columns - 1)) + "…";
  }
}
