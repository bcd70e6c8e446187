package dev.dyad.perf.profile;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Samples become a picture of which every width is a share of them. */
class ProfileTest {
  @TempDir Path directory;

  private static double width(String svg, String name) {
    Matcher matcher = Pattern.compile("<title>" + Pattern.quote(name) + ": .*?width=\"([0-9.]+)\"").matcher(svg);
    assertTrue(matcher.find(), name);
    return Double.parseDouble(matcher.group(1));
  }

  @Test
  void shouldDrawEveryFrameAsWideAsItsShare() throws Exception {
    Stacks stacks = new Stacks();
    for (int i = 0; i < 75; i++) {
      stacks.add(List.of("epoch", "dyad.PrimaryLoop.run", i < 25 ? "Thread.<init>" : "dyad.EpochCutter.cut"));
    }
    for (int i = 0; i < 25; i++) {
      stacks.add(List.of("net", "dyad.NetThread.run"));
    }
    String svg = FlameGraph.svg(stacks, "a & b");
    DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)));
    assertEquals(1400, width(svg, "all"), 0.1);
    assertEquals(1050, width(svg, "epoch"), 0.1);
    assertEquals(700, width(svg, "dyad.EpochCutter.cut"), 0.1);
    assertEquals(350, width(svg, "Thread.&lt;init&gt;"), 0.1);
    assertEquals(350, width(svg, "dyad.NetThread.run"), 0.1);
    assertTrue(svg.contains("50 samples, 50.0 %"));
  }

  /** Of this very process, by the same ways as of a node. */
  @Test
  void shouldRecordAnotherThreadsWork() throws Exception {
    AtomicBoolean done = new AtomicBoolean();
    Thread busy = Thread.ofPlatform().name("busy").start(() -> work(done));
    Path file = directory.resolve("self.jfr");
    try {
      Jcmd jcmd = new Jcmd(ProcessHandle.current().pid());
      jcmd.start(5);
      Thread.sleep(1_500);
      jcmd.stop(file);
    } finally {
      done.set(true);
      busy.join();
    }
    Recording recording = Recording.read(file);
    assertTrue(recording.threads().getOrDefault("busy", 0L) > 0, recording.threads().toString());
    List<String> names = new ArrayList<>();
    collect(recording.stacks().root().callees.getOrDefault("busy", new Stacks.Frame("none")), names);
    assertTrue(names.contains("dyad.ProfileTest.work"), names.toString());
    assertFalse(names.stream().anyMatch(name -> name.contains("0x")), names.toString());
  }

  private static void collect(Stacks.Frame frame, List<String> into) {
    into.add(frame.name);
    frame.callees.values().forEach(callee -> collect(callee, into));
  }

  private static void work(AtomicBoolean done) {
    List<Integer> numbers = new ArrayList<>(Collections.nCopies(1_000, 7));
    while (!done.get()) {
      Collections.shuffle(numbers);
    }
  }
}
