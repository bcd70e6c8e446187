package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.SharedKey;
import java.io.IOException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options that both sides of a pair have. */
final class NodeOptions {
  @Option(names = "--key", paramLabel = "FILE", description = "key that both hosts know, mode 0600; without one only loopback is used")
  @Nullable Path key;

  @Option(
      names = "--bound",
      paramLabel = "TIME",
      defaultValue = "100ms",
      converter = DurationConverter.class,
      description = "silence after which a side takes its peer for lost; equal on both (default ${DEFAULT-VALUE})")
  long boundNanos;

  @Option(names = "--arbiter", paramLabel = "FILE", description = "generation file of a pair on one host (default: in the runtime directory)")
  @Nullable Path arbiter;

  @Option(names = "--busy-poll", description = "spin instead of sleeping: lower latency for a core of its own")
  boolean busyPoll;

  @Option(names = "--core", paramLabel = "N", defaultValue = "-1", description = "pin the epoch thread to this core")
  int core;

  @Nullable SharedKey sharedKey() {
    try {
      return key == null ? null : SharedKey.read(key);
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.DATA, String.valueOf(e.getMessage()));
    }
  }

  /**
   * The generation file, or null for the default one. Without an arbiter that both sides share, a cut link would leave the guest running twice.
   *
   * @param peer the address at which the two sides meet
   * @throws CommandFailure when that is not this host's own and no file was named
   */
  @Nullable Path arbiterFor(SocketAddress peer) {
    if (arbiter == null && peer.isInet() && !peer.toInet().getAddress().isLoopbackAddress()) {
      throw new CommandFailure(
          ExitCode.USAGE,
          peer + " is not on this host, and the two sides of a pair must share an arbiter; the only one so far is a file, for two sides on one host: use a loopback address, or name it with --arbiter FILE if both sides run on this host all the same");
    }
    return arbiter;
  }

  EpochConfig epochs(long periodNanos, boolean adaptive) {
    EpochConfig usual = EpochConfig.of(periodNanos, boundNanos);
    return new EpochConfig(
        periodNanos,
        usual.window(),
        adaptive,
        usual.detectorNanos(),
        usual.leaseMarginNanos(),
        usual.heartbeatNanos(),
        usual.commitNanosMax(),
        usual.askAgainNanos(),
        usual.undecidedRunNanos());
  }
}
