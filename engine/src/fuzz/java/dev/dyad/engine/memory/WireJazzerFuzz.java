package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Coverage-guided search in a JVM of its own: {@code mvn verify -Pfuzz -pl engine -am -Ddyad.fuzzSeconds=600}. The corpus that it finds is kept in
 * {@code engine/target/fuzz-corpus}; a finding is written to {@code engine/target} and Jazzer's output names the file.
 */
@Tag("fuzz-long")
class WireJazzerFuzz {
  @Test
  void shouldFindNothingButRefusals() throws Exception {
    Path corpus = Files.createDirectories(Path.of("target", "fuzz-corpus"));
    Process jazzer =
        new ProcessBuilder(
                List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "--enable-native-access=ALL-UNNAMED",
                    "-Xmx1g",
                    "-cp",
                    System.getProperty("java.class.path"),
                    "com.code_intelligence.jazzer.Jazzer",
                    "--target_class=" + WireJazzerTarget.class.getName(),
                    "--instrumentation_includes=dev.dyad.engine.**",
                    "--reproducer_path=target",
                    "-artifact_prefix=target/",
                    "-max_len=16384",
                    "-max_total_time=" + Integer.getInteger("dyad.fuzzSeconds", 60),
                    corpus.toString()))
            .inheritIO()
            .start();
    assertEquals(0, jazzer.waitFor(), "Jazzer's exit code");
  }
}
