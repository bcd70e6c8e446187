package dev.dyad.perf.plot;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

class LinePlotTest {
  @Test
  void shouldDrawEveryPointInsideTheFrameAndHigherValuesHigher() throws Exception {
    String svg =
        new LinePlot("a < b & c", "x", "y").line("one", false, new double[] {2, 10, 50}, new double[] {0, 5, 900}).line("two", true, new double[] {2, 10, 50}, new double[] {3, 3, 3}).svg();
    NodeList circles = parsed(svg).getElementsByTagName("circle");
    assertEquals(6, circles.getLength());
    double before = Double.MAX_VALUE;
    for (int i = 0; i < 3; i++) {
      double y = number(circles, i, "cy");
      assertTrue(y < before && y >= 50 && y <= 360, "y of point " + i + " is " + y);
      double x = number(circles, i, "cx");
      assertTrue(x > 80 && x < 570, "x of point " + i + " is " + x);
      before = y;
    }
    assertEquals(2, parsed(svg).getElementsByTagName("polyline").getLength());
  }

  @Test
  void shouldDrawEqualFactorsAsEqualHeightsWhenLogarithmic() throws Exception {
    NodeList circles = parsed(new LinePlot("t", "x", "y").logarithmic().line("one", false, new double[] {1, 2, 3}, new double[] {20, 200, 2000}).svg()).getElementsByTagName("circle");
    double first = number(circles, 0, "cy") - number(circles, 1, "cy");
    assertTrue(first > 20, "a factor of ten is " + first + " high");
    assertEquals(first, number(circles, 1, "cy") - number(circles, 2, "cy"), 0.2);
  }

  @Test
  void shouldDrawALineOfOnePointAndOneOfZeros() throws Exception {
    String svg = new LinePlot("t", "x", "y").line("one", false, new double[] {10}, new double[] {0}).svg();
    assertTrue(Double.isFinite(number(parsed(svg).getElementsByTagName("circle"), 0, "cx")));
  }

  @Test
  void shouldRefuseALineWithoutAsManyXAsY() {
    assertThrows(IllegalArgumentException.class, () -> new LinePlot("t", "x", "y").line("one", false, new double[] {1, 2}, new double[] {1}));
  }

  private static double number(NodeList circles, int index, String attribute) {
    return Double.parseDouble(((Element) circles.item(index)).getAttribute(attribute));
  }

  private static Document parsed(String svg) throws Exception {
    return DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)));
  }
}
