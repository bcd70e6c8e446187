package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.kvm.Kvm;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Epochs in a JVM without a garbage collector and with a small heap: whatever an epoch allocated would fill it. */
class EpsilonSoakTest {
  private static final int SHORT_EPOCHS = 5_000;
  private static final int EPOCHS = Integer.getInteger("dyad.soak.epochs", 1_000_000);

  @TempDir Path directory;

  @Test
  void shouldRunOnAHeapThatIsNeverFreed() throws IOException, InterruptedException {
    soak(SHORT_EPOCHS);
  }

  /** {@code mvn -Psoak -pl engine -am test -Dtest=EpsilonSoakTest}, with {@code -Ddyad.jvmArgs=-Ddyad.soak.epochs=N} for fewer. */
  @Test
  @Tag("soak")
  void shouldRunAMillionEpochsOnAHeapThatIsNeverFreed() throws IOException, InterruptedException {
    soak(EPOCHS);
  }

  private void soak(int epochs) throws IOException, InterruptedException {
    assumeTrue(Kvm.unusable().isEmpty(), Kvm.unusable());
    String classPath = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED", "-XX:+UnlockExperimentalVMOptions", "-XX:+UseEpsilonGC", "-Xms96m", "-Xmx96m", "-XX:+ExitOnOutOfMemoryError", "-cp", classPath,
                EpochSoak.class.getName(), Integer.toString(epochs), directory.toString()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    // A hundred epochs a second are less than any machine makes that is not stuck.
    var _ = process.onExit().orTimeout(60 + epochs / 100, TimeUnit.SECONDS).exceptionally(late -> process.destroyForcibly());
    List<String> lines = new ArrayList<>();
    try (BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = out.readLine(); line != null; line = out.readLine()) {
        lines.add(line);
        if (line.startsWith("heap")) {
          System.out.println(line);
        }
      }
    } finally {
      if (process.isAlive() && !process.waitFor(30, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
    }
    assertTrue(lines.stream().anyMatch(line -> line.startsWith("epochs ")), () -> "exit " + process.exitValue() + ": " + String.join("\n", lines));
  }
}
