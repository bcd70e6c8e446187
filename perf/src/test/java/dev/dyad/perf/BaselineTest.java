package dev.dyad.perf;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.json.Json;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Kept figures are compared on the machine that they were taken on, and nowhere else. */
class BaselineTest {
  @TempDir private Path directory;

  @Test
  void shouldDivideByWhatWasKeptHere() {
    Path file = directory.resolve("kept.json");
    Baseline.save(file, Map.of("a", 2.0, "gone", 1.0));
    assertEquals(Map.of("a", 1.5), Baseline.open(file).ratios(Map.of("a", 3.0, "new", 1.0)));
  }

  @Test
  void shouldRefuseFiguresOfAnotherMachine() throws Exception {
    Path file = directory.resolve("kept.json");
    Baseline.save(file, Map.of("a", 2.0));
    Files.writeString(file, Files.readString(file).replaceFirst("\"cpu\":\"[^\"]*\"", "\"cpu\":\"another one\""));
    CommandFailure refusal = assertThrows(CommandFailure.class, () -> Baseline.open(file));
    assertEquals(ExitCode.DATA, refusal.exitCode());
    assertTrue(String.valueOf(refusal.getMessage()).contains("another one"), refusal.getMessage());
  }

  /** The files in {@code perf/baselines}: each names its machine in full, and another one is told so, whatever differs. */
  @Test
  void shouldRefuseTheKeptFilesOnEveryMachineButTheirOwn() throws Exception {
    List<Path> kept;
    try (Stream<Path> files = Files.list(Path.of(System.getProperty("dyad.root", ".."), "perf", "baselines"))) {
      kept = files.toList();
    }
    assertFalse(kept.isEmpty());
    for (Path original : kept) {
      Json content = Json.parse(Files.readString(original));
      assertTrue(content.get("figures").toString().length() > 2, original.toString());
      for (Map.Entry<String, Object> here : MachineDescription.here().entrySet()) {
        assertFalse(content.get("machine").get(here.getKey()).isAbsent(), original + " lacks " + here.getKey());
      }
      Path ofHere = directory.resolve("here-" + original.getFileName());
      Baseline.save(ofHere, Map.of("a", 2.0));
      String machine = Json.parse(Files.readString(ofHere)).get("machine").toString();
      for (String key : MachineDescription.here().keySet()) {
        String other = machine.replaceFirst("(\"" + key + "\":)(\"[^\"]*\"|[0-9]+)", "$1\"something else\"");
        Path foreign = Files.writeString(directory.resolve("foreign.json"), "{\"machine\":" + other + ",\"figures\":" + content.get("figures") + "}");
        CommandFailure refusal = assertThrows(CommandFailure.class, () -> Baseline.open(foreign), key);
        assertTrue(String.valueOf(refusal.getMessage()).contains(key + " \"something else\""), refusal.getMessage());
      }
    }
  }

  @Test
  void shouldSayHowToMakeOneThatIsMissing() {
    CommandFailure refusal = assertThrows(CommandFailure.class, () -> Baseline.open(directory.resolve("none.json")));
    assertTrue(String.valueOf(refusal.getMessage()).contains("--save-baseline"), refusal.getMessage());
  }
}
