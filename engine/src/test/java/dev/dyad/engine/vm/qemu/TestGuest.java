package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.guest.GuestMachine;
import dev.dyad.engine.guest.GuestUnavailableException;
import dev.dyad.engine.guest.LinuxGuest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;

/** A booted guest for the tests of this package, or a skip with its reason. */
final class TestGuest {
  static final Duration BOOT_BOUND = Duration.ofSeconds(90);

  private TestGuest() {}

  static void requireQemu() {
    Assumptions.assumeTrue(Files.isExecutable(Path.of("/usr/bin/qemu-system-x86_64")), "qemu-system-x86_64 is not installed: apt-get install qemu-system-x86");
  }

  static GuestMachine boot(Path directory, UnaryOperator<GuestMachine.Builder> options) {
    requireQemu();
    LinuxGuest guest;
    try {
      guest = LinuxGuest.obtain();
    } catch (GuestUnavailableException e) {
      return Assumptions.abort(e.toString());
    }
    GuestMachine machine = options.apply(GuestMachine.builder(guest, directory).memoryMib(160)
        .kernelOptions("dyad.tick=0.05 dyad.dirty=200")).start();
    try {
      return machine.awaitReady(BOOT_BOUND);
    } catch (RuntimeException e) {
      machine.close();
      throw e;
    }
  }

  /** A directory with a short path, for sockets; it goes when this JVM ends. */
  static Path directory() {
    try {
      Path directory = Files.createTempDirectory("dyad-q");
      Runtime.getRuntime().addShutdownHook(new Thread(() -> deleteTree(directory)));
      return directory;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void deleteTree(Path directory) {
    try (Stream<Path> tree = Files.walk(directory)) {
      for (Path file : tree.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
