package dev.dyad.perf.plot;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Lines over a logarithmic x-axis, as one SVG file: readable in light and dark surroundings, without a script or a font of its own.
 *
 * <p>The y-axis is linear and begins at 0, so that heights compare as the values do, unless the values are too far apart for that.
 */
public final class LinePlot {
  private static final int WIDTH = 720;
  private static final int HEIGHT = 420;
  private static final int LEFT = 80;
  private static final int RIGHT = 150;
  private static final int TOP = 50;
  private static final int BOTTOM = 60;
  private static final int STEPS = 5;

  // Told apart by people who do not see red and green as different (Okabe and Ito's colours).
  private static final List<String> COLOURS = List.of("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00");

  /** The y-axis, from {@code min} to {@code max}; logarithmic when {@code min} is not 0. */
  private record Scale(double min, double max) {
    double y(double value) {
      double part = min == 0 ? value / max : Math.log(Math.max(value, min) / min) / Math.log(max / min);
      return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
    }

    List<Double> ticks() {
      List<Double> ticks = new ArrayList<>();
      if (min == 0) {
        for (int i = 0; i <= STEPS; i++) {
          ticks.add(i * max / STEPS);
        }
        return ticks;
      }
      for (double decade = min; decade < max * 1.5; decade *= 10) {
        ticks.add(decade);
      }
      return ticks;
    }
  }

  private record Line(String name, boolean dashed, double[] x, double[] y) {}

  private final String title;
  private final String xLabel;
  private final String yLabel;
  private final List<Line> lines = new ArrayList<>();
  private boolean logarithmic;

  public LinePlot(String title, String xLabel, String yLabel) {
    this.title = title;
    this.xLabel = xLabel;
    this.yLabel = yLabel;
  }

  /** The y-axis is logarithmic as well: for values that are orders of magnitude apart, all greater than 0. */
  public LinePlot logarithmic() {
    logarithmic = true;
    return this;
  }

  /** {@code x} in ascending order, all greater than 0; {@code y} not negative. */
  public LinePlot line(String name, boolean dashed, double[] x, double[] y) {
    if (x.length != y.length || x.length == 0) {
      throw new IllegalArgumentException(name + " has " + x.length + " x and " + y.length + " y");
    }
    lines.add(new Line(name, dashed, x.clone(), y.clone()));
    return this;
  }

  /** The file's content. */
  public String svg() {
    double xMin = lines.stream().mapToDouble(line -> line.x[0]).min().orElse(1);
    double xMax = Math.max(xMin * 1.01, lines.stream().mapToDouble(line -> line.x[line.x.length - 1]).max().orElse(10));
    Scale scale = scale();
    StringBuilder out = new StringBuilder();
    out.append(String.format(Locale.ROOT,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\">%n"
            + "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>%n<text x=\"%d\" y=\"28\" font-size=\"16\" font-weight=\"bold\">%s</text>%n",
        WIDTH, HEIGHT, LEFT, escaped(title)));
    for (double tick : scale.ticks()) {
      double y = scale.y(tick);
      out.append(String.format(Locale.ROOT, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>%n",
          LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, number(tick)));
    }
    for (double tick : lines.isEmpty() ? new double[0] : lines.getFirst().x) {
      double x = x(tick, xMin, xMax);
      out.append(String.format(Locale.ROOT, "<path d=\"M%.1f %dv6\" stroke=\"#333\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>%n",
          x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 20, number(tick)));
    }
    out.append(String.format(Locale.ROOT, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>%n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, escaped(xLabel)));
    out.append(String.format(Locale.ROOT, "<text transform=\"translate(20 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>%n", (TOP + HEIGHT - BOTTOM) / 2, escaped(yLabel)));
    for (int i = 0; i < lines.size(); i++) {
      append(lines.get(i), i, xMin, xMax, scale, out);
    }
    return out.append("</svg>\n").toString();
  }

  private static void append(Line line, int index, double xMin, double xMax, Scale scale, StringBuilder out) {
    String colour = COLOURS.get(index % COLOURS.size());
    String dash = line.dashed ? " stroke-dasharray=\"6 4\"" : "";
    StringBuilder points = new StringBuilder();
    for (int i = 0; i < line.x.length; i++) {
      double x = x(line.x[i], xMin, xMax);
      double y = scale.y(line.y[i]);
      points.append(String.format(Locale.ROOT, "%.1f,%.1f ", x, y));
      out.append(String.format(Locale.ROOT, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"><title>%s: %s</title></circle>%n",
          x, y, colour, escaped(line.name), number(line.y[i])));
    }
    int legend = TOP + 10 + index * 22;
    out.append(String.format(Locale.ROOT, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s/>%n", points.toString().strip(), colour, dash));
    out.append(String.format(Locale.ROOT, "<path d=\"M%d %dh24\" stroke=\"%s\" stroke-width=\"2\"%s/><text x=\"%d\" y=\"%d\">%s</text>%n",
        WIDTH - RIGHT + 12, legend, colour, dash, WIDTH - RIGHT + 42, legend + 4, escaped(line.name)));
  }

  private static double x(double value, double min, double max) {
    return LEFT + 12 + Math.log(value / min) / Math.log(max / min) * (WIDTH - LEFT - RIGHT - 24);
  }

  private Scale scale() {
    double largest = lines.stream().flatMapToDouble(line -> Arrays.stream(line.y)).max().orElse(1);
    double smallest = lines.stream().flatMapToDouble(line -> Arrays.stream(line.y)).min().orElse(0);
    if (!logarithmic || smallest <= 0) {
      return new Scale(0, roundStep(largest / STEPS) * STEPS);
    }
    double min = Math.pow(10, Math.floor(Math.log10(smallest)));
    return new Scale(min, Math.max(10 * min, Math.pow(10, Math.ceil(Math.log10(largest)))));
  }

  /** The next of 1, 2, 2.5, 5 × 10ⁿ. */
  private static double roundStep(double least) {
    if (!(least > 0)) {
      return 1;
    }
    double power = Math.pow(10, Math.floor(Math.log10(least)));
    for (double factor : new double[] {1, 2, 2.5, 5}) {
      if (least <= factor * power) {
        return factor * power;
      }
    }
    return 10 * power;
  }

  private static String number(double value) {
    return value == Math.rint(value) ? String.format(Locale.ROOT, "%,.0f", value) : String.format(Locale.ROOT, "%,.3g", value);
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
  }
}
