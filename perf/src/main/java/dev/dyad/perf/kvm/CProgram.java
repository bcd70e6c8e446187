package dev.dyad.perf.kvm;

import dev.dyad.engine.json.Json;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.perf.NativeProgram;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** {@code perf/native/kvm_epoch.c} on the same guest. */
final class CProgram {
  private final Path program = NativeProgram.build("kvm_epoch", "-pthread", "-msse4.2");
  private final Path guest;
  private final Path values;

  /**
   * @param directory for the guest's program and for what was measured
   */
  CProgram(Path directory) {
    guest = directory.resolve("guest.bin");
    values = directory.resolve("values");
    try (InputStream in = BuiltinGuest.class.getResourceAsStream("guest.bin")) {
      if (in == null) {
        throw new IllegalStateException("the built-in guest's program is missing from the class path");
      }
      Files.copy(in, guest);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  void run(KvmCase wanted, int epochs, int warmup, int spins, EpochTimes into) {
    List<String> line =
        List.of(program.toString(), "--guest", guest.toString(), "--pages", Long.toString(wanted.pages()), "--memory-mib", Integer.toString(wanted.memoryMib()),
            "--vcpus", Integer.toString(wanted.vcpus()), "--epochs", Integer.toString(epochs), "--warmup", Integer.toString(warmup), "--spins", Integer.toString(spins),
            "--values", values.toString());
    try {
      Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      if (process.waitFor() != 0) {
        throw new IllegalStateException(said);
      }
      into.ran(epochs, epochs / Double.parseDouble(Json.parse(said).get("epochsPerSecond").toString()));
      ByteBuffer times = ByteBuffer.wrap(Files.readAllBytes(values)).order(ByteOrder.LITTLE_ENDIAN);
      while (times.hasRemaining()) {
        for (EpochTimes.Part part : EpochTimes.Part.values()) {
          into.record(part, times.getLong());
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while the C program ran", e);
    }
  }
}
