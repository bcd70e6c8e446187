package dev.dyad.perf;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
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

  @Test
  void shouldSayHowToMakeOneThatIsMissing() {
    CommandFailure refusal = assertThrows(CommandFailure.class, () -> Baseline.open(directory.resolve("none.json")));
    assertTrue(String.valueOf(refusal.getMessage()).contains("--save-baseline"), refusal.getMessage());
  }
}
