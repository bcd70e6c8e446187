package dev.dyad.hwtests.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.hwtests.Needs;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The whole of it in processes of their own: a microVM whose hosts are killed in turn, a client that checks every acknowledged write. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class BuiltinDemoTest {
  @BeforeEach
  void needsKvm() {
    Needs.kvm();
  }

  @Test
  void shouldLoseNothingAndEndWithTheUndisturbedChecksumWhenBothHostsDieInTurn() throws InterruptedException {
    StringWriter story = new StringWriter();

    // A detector that takes no pause of a machine shared with other work for a death.
    DemoSummary summary = new BuiltinDemo(new Progress(new PrintWriter(story)), "10ms", "1s", 1, 15).run();

    Map<String, Object> found = summary.toMap();
    assertEquals(0L, found.get("lostWrites"), story.toString());
    assertEquals(0, found.get("resetConnections"), story.toString());
    assertEquals(true, found.get("guestChecksumRight"), story.toString());
    assertTrue(summary.epochs() > 20, story.toString());
    assertTrue(summary.acked() > 400, story.toString());
    assertTrue(summary.isGood(), story.toString());
  }
}
