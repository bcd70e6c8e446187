package dev.dyad.hwtests.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ProgressTest {
  private static final String LONG_STEP =
      "a new standby was brought level while the guest ran: protected again, in the other direction, and the client noticed nothing of all that";

  private final StringWriter written = new StringWriter();

  @Test
  void shouldRewriteItsStatusInPlaceAndKeepItsSteps() {
    Progress progress = new Progress(new PrintWriter(written), true);

    progress.step("first");
    progress.status(List.of("one", "two"));
    progress.status(List.of("three"));
    progress.step("second");

    assertEquals(List.of("[x] first", "[x] second"), screen());
  }

  @Test
  void shouldLeaveTheLastStatusBelowTheSteps() {
    Progress progress = new Progress(new PrintWriter(written), true);

    progress.step("first");
    progress.status(List.of("one", "two"));
    progress.status(List.of("three", "four"));

    assertEquals(List.of("[x] first", "          three", "          four"), screen());
  }

  @Test
  void shouldBreakAStepBetweenWordsWhereATerminalOf80ColumnsEnds() {
    new Progress(new PrintWriter(written), true).step(LONG_STEP);

    List<String> lines = screen();
    assertTrue(lines.size() > 1, lines.toString());
    assertTrue(lines.stream().allMatch(line -> line.length() <= 80), lines.toString());
    assertEquals("[x] " + LONG_STEP, String.join(" ", lines.stream().map(String::strip).toList()));
  }

  @Test
  void shouldWriteAPlainLineForEachElsewhere() {
    Progress progress = new Progress(new PrintWriter(written), false);

    progress.step(LONG_STEP);
    progress.status(List.of("one", "two"));
    progress.status(List.of("three"));

    assertFalse(written.toString().contains("\033"), "a control sequence in a file");
    assertEquals(List.of("[x] " + LONG_STEP, "          one  two", "          three"), screen());
  }

  /** What a terminal shows that knows the three sequences in use; times are x. */
  private List<String> screen() {
    List<String> lines = new ArrayList<>();
    String text = written.toString().replaceAll("\033\\[\\?7[lh]", "");
    for (String part : text.split("\n")) {
      String line = part;
      while (line.startsWith("\033[")) {
        int up = Integer.parseInt(line.substring(2, line.indexOf('A')));
        lines.subList(lines.size() - up, lines.size()).clear();
        line = line.substring(line.indexOf("\r\033[J") + 4);
      }
      lines.add(line.replaceFirst("^\\[ *[0-9.,]+ s\\]", "[x]"));
    }
    return lines;
  }
}
