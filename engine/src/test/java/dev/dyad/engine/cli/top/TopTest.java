package dev.dyad.engine.cli.top;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.node.NodeSnapshot;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What is shown of a node, and that it fits. */
class TopTest {
  private static final String PRIMARY =
      """
      {"role":"primary","name":"db","pid":7,"state":"PROTECTED","protected":true,"why":"","generation":2,"epoch":%d,"commitAgeMillis":3.25,
       "pauseMicros":{"count":9,"p50":400.0,"p95":1.0,"p99":900.5,"max":12345.0},"dirtyPages":{"p50":52,"p99":60,"max":70},"bytesShipped":%d,"heldPackets":1}""";
  private static final String STANDBY =
      "{\"role\":\"standby\",\"name\":\"\",\"pid\":8,\"state\":\"CONNECTING\",\"protected\":false,\"why\":\"no primary yet\",\"generation\":0,\"epoch\":0}";

  private static NodeRow row() throws IOException {
    NodeSnapshot before = NodeSnapshot.of(PRIMARY.formatted(1_000, 1_000_000), 0);
    return new NodeRow(NodeSnapshot.of(PRIMARY.formatted(1_200, 5_000_000), 2_000_000_000L), before);
  }

  @Test
  void shouldShowRatesBetweenTwoLooks() throws IOException {
    String line = row().line();
    for (String part : List.of("db", "primary, protected", "epoch 1,200", "100 /s", "commit age 3.3 ms", "p50 400 p99 901 max 12,345 µs", "pages 52", "2.00 MB/s", "held 1", "generation 2")) {
      assertTrue(line.contains(part), part + " in: " + line);
    }
  }

  @Test
  void shouldSayWhyANodeIsNotProtected() throws IOException {
    String line = new NodeRow(NodeSnapshot.of(STANDBY, 1), null).line();
    assertTrue(line.contains("NOT protected") && line.contains("no primary yet"), line);
    assertFalse(line.contains("pause") || line.contains("-1"), line);
  }

  @Test
  void shouldNeverBeLargerThanTheTerminal() throws IOException {
    List<NodeRow> rows = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      rows.add(row());
      rows.add(new NodeRow(NodeSnapshot.of(STANDBY, 1), null));
    }
    for (int columns : new int[] {20, 80, 200}) {
      for (int height : new int[] {5, 24, 500}) {
        List<String> lines = TopScreen.lines(rows, "12:00:00", "", columns, height);
        assertTrue(lines.size() <= height);
        for (String line : lines) {
          assertTrue(line.replaceAll("\033\\[\\d*m", "").length() <= columns, line);
        }
      }
    }
    assertEquals("nobody", TopScreen.lines(List.of(), "12:00:00", "nobody", 80, 24).get(2));
  }

  @Test
  void shouldRefuseWhatIsNoReport() {
    for (String text : List.of("", "{", "[]", "7", "{\"name\":\"x\"}")) {
      assertThrows(IOException.class, () -> NodeSnapshot.of(text, 0), text);
    }
  }
}
