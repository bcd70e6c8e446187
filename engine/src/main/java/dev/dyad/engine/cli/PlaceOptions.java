package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.node.MicroVmPlace;
import dev.dyad.engine.node.MicroVmTuning;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What this host gives a microVM; a primary and a standby each for itself. */
final class PlaceOptions {
  @Option(names = "--console", paramLabel = "FILE", description = "microVM: append what the guest prints to FILE, epoch by epoch as it is committed (/dev/stdout: here)")
  @Nullable Path console;

  @Option(names = "--huge-pages", description = "microVM: take guest memory from the pool of 2 MiB pages")
  boolean hugePages;

  /** With one way outside: a TAP if one is named, else UDP. */
  MicroVmPlace place(@Nullable SocketAddress udp, @Nullable String tap, MicroVmTuning tuning) {
    return new MicroVmPlace(tap != null ? null : udp, tap, console, hugePages, tuning);
  }
}
