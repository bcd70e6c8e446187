package dev.dyad.engine.arbiter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class FileArbiterTest {
  @TempDir Path folder = Path.of("");

  private Path file() {
    return folder.resolve("generation");
  }

  @Test
  void shouldGrantAGenerationToTheFirstWhoAsksAndToNobodyElse() {
    try (FileArbiter a = FileArbiter.open(file());
        FileArbiter b = FileArbiter.open(file())) {
      assertEquals(0, a.current());
      assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
      assertEquals(Arbiter.Verdict.DENIED, b.request(1, "host-b"));
      assertEquals(Arbiter.Verdict.GRANTED, b.request(2, "host-b"));
      assertEquals(Arbiter.Verdict.DENIED, a.request(2, "host-a"));
      assertEquals(Arbiter.Verdict.DENIED, a.request(1, "host-a"));
      assertEquals(2, a.current());
    }
  }

  @Test
  void shouldGrantAgainToTheSameHostWhoseAnswerWasLost() {
    try (FileArbiter a = FileArbiter.open(file())) {
      assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
    }
    try (FileArbiter a = FileArbiter.open(file())) {
      assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
      assertEquals(Arbiter.Verdict.DENIED, a.request(1, "host-b"));
    }
  }

  @Test
  void shouldShowAStoppedSideTheNewGenerationWithoutASystemCall() {
    try (FileArbiter stale = FileArbiter.open(file());
        FileArbiter winner = FileArbiter.open(file())) {
      assertEquals(Arbiter.Verdict.GRANTED, stale.request(1, "host-a"));
      assertEquals(1, stale.newest());
      assertEquals(Arbiter.Verdict.GRANTED, winner.request(2, "host-b"));
      assertEquals(2, stale.newest());
    }
  }

  @Test
  void shouldNotAnswerWhenTheFileIsOlderThanTheOneWhoAsks() {
    try (FileArbiter a = FileArbiter.open(file())) {
      assertEquals(Arbiter.Verdict.UNREACHABLE, a.request(5, "host-a"));
      assertTrue(String.valueOf(a.problem()).contains("knows generation 0, this side holds 4"), a.problem());
      assertEquals(Arbiter.Verdict.GRANTED, a.request(1, "host-a"));
      assertNull(a.problem());
    }
  }

  @Test
  void shouldNotAnswerOnceTheFileIsRemovedOrReplaced() throws IOException {
    try (FileArbiter a = FileArbiter.open(file())) {
      Files.delete(file());
      assertEquals(Arbiter.Verdict.UNREACHABLE, a.request(1, "host-a"));
      try (FileArbiter b = FileArbiter.open(file())) {
        assertEquals(Arbiter.Verdict.GRANTED, b.request(1, "host-b"));
        assertEquals(Arbiter.Verdict.UNREACHABLE, a.request(1, "host-a"));
        assertEquals(-1, a.current());
        assertTrue(String.valueOf(a.problem()).contains("was replaced"), a.problem());
      }
    }
  }

  @Test
  void shouldRefuseAForeignFileWithOneLine() throws IOException {
    Files.writeString(file(), "root:x:0:0:root:/root:/bin/bash\n");
    String line = refusal();
    assertTrue(line.contains("is not a generation file") && line.contains(file().toString()) && !line.contains("\n"), line);
    byte[] page = new byte[4096];
    Arrays.fill(page, (byte) 'x');
    Files.write(file(), page);
    assertTrue(refusal().contains("its head is not DYADGEN1"));
  }

  @Test
  void shouldRefuseAFileWithoutAWholeRecord() throws IOException {
    try (FileArbiter a = FileArbiter.open(file())) {
      a.request(1, "host-a");
    }
    byte[] bytes = Files.readAllBytes(file());
    bytes[512 + 24] ^= 1;
    bytes[1024 + 24] ^= 1;
    Files.write(file(), bytes);
    assertTrue(refusal().contains("neither of its two records is whole"));
  }

  private String refusal() {
    return String.valueOf(assertThrows(IllegalStateException.class, () -> FileArbiter.open(file())).getMessage());
  }

  @Test
  void shouldGoOnFromTheRecordBeforeWhenTheNewestIsTornAtAnyByte() throws IOException {
    try (FileArbiter a = FileArbiter.open(file())) {
      a.request(1, "host-a");
    }
    byte[] before = Files.readAllBytes(file());
    try (FileArbiter a = FileArbiter.open(file())) {
      a.request(2, "host-b");
    }
    byte[] after = Files.readAllBytes(file());
    for (int cut = 512; cut < 1024; cut++) {
      byte[] torn = before.clone();
      System.arraycopy(after, 512, torn, 512, cut - 512);
      Files.write(file(), torn);
      try (FileArbiter a = FileArbiter.open(file())) {
        long current = a.current();
        assertTrue(current == 1 || current == 2, "torn at " + cut + ": " + current);
        assertEquals(current == 2 ? Arbiter.Verdict.DENIED : Arbiter.Verdict.GRANTED, a.request(2, "host-c"));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(FileArbiter.Step.class)
  void shouldSurviveTheDeathOfAProcessAtEachStep(FileArbiter.Step step) throws IOException, InterruptedException {
    Process child = ArbiterChild.start(file(), "host-a", 1, 1, step.name());
    ArbiterChild.go(child);
    assertEquals(9, child.waitFor(), "it was to die at " + step);
    try (FileArbiter b = FileArbiter.open(file())) {
      long current = b.current();
      assertTrue(current == 0 || current == 1, step + ": " + current);
      // What was not granted in a durable way can be won; what was, is host-a's.
      assertEquals(current == 1 ? Arbiter.Verdict.DENIED : Arbiter.Verdict.GRANTED, b.request(1, "host-b"));
      assertEquals(Arbiter.Verdict.GRANTED, b.request(2, "host-b"));
      assertEquals(2, b.current());
    }
  }

  @Test
  void shouldGrantEachGenerationOnceWhenProcessesRace() throws IOException, InterruptedException {
    List<Process> children = new ArrayList<>();
    List<BufferedReader> outputs = new ArrayList<>();
    try {
      for (int i = 0; i < 3; i++) {
        Process child = ArbiterChild.start(file(), "host-" + i, 1, 200, "NONE");
        children.add(child);
        outputs.add(child.inputReader());
      }
      for (BufferedReader output : outputs) {
        assertEquals("READY", output.readLine());
      }
      for (Process child : children) {
        ArbiterChild.go(child);
      }
      Map<String, Integer> grants = new HashMap<>();
      for (BufferedReader output : outputs) {
        for (int g = 1; g <= 200; g++) {
          String[] answer = String.valueOf(output.readLine()).split(" ");
          assertTrue(!answer[1].equals("UNREACHABLE"), answer[0]);
          grants.merge(answer[0], answer[1].equals("GRANTED") ? 1 : 0, Integer::sum);
        }
      }
      for (int g = 1; g <= 200; g++) {
        assertEquals(1, grants.get(Integer.toString(g)), "generation " + g);
      }
    } finally {
      for (Process child : children) {
        child.destroyForcibly().waitFor();
      }
    }
  }
}
