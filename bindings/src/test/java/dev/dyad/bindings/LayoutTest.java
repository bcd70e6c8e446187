package dev.dyad.bindings;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Sizes, alignments, offsets and constants of all generated bindings against the installed C compiler and headers. */
class LayoutTest {

  private static final Path HEADERS = Path.of("..", "native-headers").toAbsolutePath().normalize();

  @TempDir
  private Path work = Path.of("target");

  private Map<String, Long> c(LayoutProbe probe, Map<String, Long> java) throws IOException, InterruptedException {
    try {
      return probe.c(java.keySet(), work);
    } catch (LayoutProbe.Unavailable e) {
      assumeTrue(false, e.getMessage());
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"linux", "kvm", "uring", "verbs", "wire"})
  void shouldAgreeWithTheCompilerInEverySizeOffsetAndConstant(String family) throws Exception {
    assertTrue(Files.isDirectory(HEADERS), "no " + HEADERS);
    LayoutProbe probe = new LayoutProbe(family, HEADERS);
    Map<String, Long> java = probe.java();
    assertTrue(java.size() > 50, "only " + java.size() + " facts: nothing was found to compare");
    assertEquals(List.of(), LayoutProbe.differences(java, c(probe, java)));
  }

  @Test
  void shouldObjectToAWrongSizeOffsetOrConstant() throws Exception {
    LayoutProbe probe = new LayoutProbe("linux", HEADERS);
    Map<String, Long> java = probe.java();
    Map<String, Long> c = c(probe, java);
    Map<String, Long> wrong = new TreeMap<>(java);
    wrong.merge("sizeof(struct pm_scan_arg)", 8L, Long::sum);
    wrong.merge("__builtin_offsetof(struct user_regs_struct, orig_rax)", 8L, Long::sum);
    wrong.merge("(PAGEMAP_SCAN)", 1L, Long::sum);
    List<String> differences = LayoutProbe.differences(wrong, c);
    assertEquals(3, differences.size(), differences::toString);
  }
}
