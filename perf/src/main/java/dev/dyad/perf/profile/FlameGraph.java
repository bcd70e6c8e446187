package dev.dyad.perf.profile;

import java.util.Locale;

/**
 * Draws {@link Stacks} as one SVG file without a script or a font of its own: a frame is as wide as its share of the samples, its callees
 * stand on it, and pointing at it says what it is. Ours, the JDK's and the rest have colours of their own.
 */
final class FlameGraph {
  private static final double WIDTH = 1400;
  private static final int ROW = 18;
  private static final int TOP = 48;
  private static final double LETTER = 6.6;

  /** Narrower frames are left out; the one below shows by its width that something stood there. */
  private static final double WIDTH_MIN = 1.0;

  private final StringBuilder out = new StringBuilder();
  private final double total;
  private final int height;

  private FlameGraph(Stacks.Frame root) {
    total = Math.max(1, root.count);
    height = TOP + root.depth(total * WIDTH_MIN / WIDTH) * ROW + 8;
  }

  static String svg(Stacks stacks, String title) {
    FlameGraph graph = new FlameGraph(stacks.root());
    graph.draw(stacks.root(), title);
    return graph.out.toString();
  }

  private void draw(Stacks.Frame root, String title) {
    out.append(String.format(Locale.ROOT, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%d\" viewBox=\"0 0 %.0f %d\">%n", WIDTH, height, WIDTH, height));
    out.append("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    out.append("<g font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"11\">\n");
    out.append("<text x=\"8\" y=\"18\" font-size=\"14\">").append(escaped(title)).append("</text>\n");
    legend("ours", "#e69f00", 8);
    legend("JDK", "#56b4e9", 80);
    legend("thread", "#bbbbbb", 152);
    frame(root, 0, 0);
    out.append("</g>\n</svg>\n");
  }

  private void legend(String name, String colour, int x) {
    out.append(String.format(Locale.ROOT, "<rect x=\"%d\" y=\"28\" width=\"10\" height=\"10\" fill=\"%s\"/><text x=\"%d\" y=\"37\">%s</text>%n", x, colour, x + 14, name));
  }

  private void frame(Stacks.Frame frame, double x, int depth) {
    double width = frame.count / total * WIDTH;
    if (width < WIDTH_MIN) {
      return;
    }
    int y = height - 8 - (depth + 1) * ROW;
    String name = escaped(frame.name);
    out.append(
        String.format(
            Locale.ROOT,
            "<g><title>%s: %d samples, %.1f %%</title><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\" stroke=\"#ffffff\" stroke-width=\"0.5\"/>",
            name, frame.count, frame.count * 100 / total, x, y, width, ROW - 1, colour(frame.name, depth)));
    int letters = (int) ((width - 6) / LETTER);
    if (letters >= 3) {
      String shown = frame.name.length() <= letters ? frame.name : frame.name.substring(0, letters - 1) + "…";
      out.append(String.format(Locale.ROOT, "<text x=\"%.1f\" y=\"%d\">%s</text>", x + 3, y + ROW - 6, escaped(shown)));
    }
    out.append("</g>\n");
    double at = x;
    for (Stacks.Frame callee : frame.callees.values()) {
      frame(callee, at, depth + 1);
      at += callee.count / total * WIDTH;
    }
  }

  private static String colour(String name, int depth) {
    return depth <= 1 ? "#bbbbbb" : name.startsWith("dyad.") ? "#e69f00" : "#56b4e9";
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
  }
}
