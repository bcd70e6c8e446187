package dev.dyad.perf.qemu;

import dev.dyad.engine.json.Json;
import dev.dyad.perf.NativeProgram;
import dev.dyad.perf.pair.LinuxPair;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** {@code perf/native/qemu_epoch.c} on the pair's guest. */
final class CBaseline {
  private final LinuxPair pair;
  private final Path program = NativeProgram.build("qemu_epoch");

  CBaseline(LinuxPair pair) {
    this.pair = pair;
  }

  EpochFigures run(long periodNanos, double seconds, double warmupSeconds) {
    Process process = pair.startInside(program.toString(), pair.guest().qmp().toString(), Long.toString(pair.guest().pid()),
        Long.toString(periodNanos / 1000), Double.toString(seconds), Double.toString(warmupSeconds));
    try {
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      int code = process.waitFor();
      if (code != 0) {
        throw new IllegalStateException("the C program ended with " + code + "\n" + pair.logs());
      }
      return EpochFigures.of(Json.parse(said.strip()));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }
}
