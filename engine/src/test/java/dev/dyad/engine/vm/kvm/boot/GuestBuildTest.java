package dev.dyad.engine.vm.kvm.boot;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GuestBuildTest {

  /** The committed program is what its source gives; compared where the same compiler is installed. */
  @Test
  void shouldBeBuiltFromItsSource(@TempDir Path directory) throws IOException, InterruptedException {
    byte[] compiler = resource("guest.compiler");
    assumeTrue(hasCompiler(), "cc is not installed");
    Path program = directory.resolve("guest.bin");
    Path script = Path.of(System.getProperty("dyad.root", ".."), "engine", "src", "main", "guest", "build");
    Process build = new ProcessBuilder("/bin/sh", script.toString(), program.toString()).redirectErrorStream(true).start();
    String output = new String(build.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, build.waitFor(), output);
    byte[] here = Files.readAllBytes(directory.resolve("guest.compiler"));
    assumeTrue(
        new String(compiler, StandardCharsets.UTF_8).equals(new String(here, StandardCharsets.UTF_8)),
        "the compiler here is another: " + new String(here, StandardCharsets.UTF_8).strip());
    assertArrayEquals(resource("guest.bin"), Files.readAllBytes(program));
  }

  private static boolean hasCompiler() throws InterruptedException {
    try {
      return new ProcessBuilder("cc", "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor() == 0;
    } catch (IOException e) {
      return false;
    }
  }

  private static byte[] resource(String name) throws IOException {
    try (InputStream in = BuiltinGuest.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IOException("no resource " + name);
      }
      return in.readAllBytes();
    }
  }
}
