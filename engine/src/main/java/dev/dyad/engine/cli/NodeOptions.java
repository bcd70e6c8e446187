package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The options that both sides of a pair have. */
final class NodeOptions {
  /** Lower case, as it is typed. */
  enum LinkKind {
    auto,
    rdma,
    tcp
  }

  @Option(names = "--key", paramLabel = "FILE", description = "key that both hosts know, mode 0600; without one only loopback is used")
  @Nullable Path key;

  @Option(
      names = "--bound",
      paramLabel = "TIME",
      defaultValue = "100ms",
      converter = DurationConverter.class,
      description = "silence after which a side takes its peer for lost; equal on both (default ${DEFAULT-VALUE})")
  long boundNanos;

  @Option(
      names = "--arbiter",
      paramLabel = "FILE|URL",
      description = "who decides which side goes on alone: http://HOST:PORT of an etcd (several separated by commas), or for two sides on one host a file (default: one in the runtime directory)")
  @Nullable String arbiter;

  @Option(
      names = "--link",
      paramLabel = "KIND",
      defaultValue = "auto",
      description = "between two hosts: rdma, tcp, or auto: rdma where both sides can (default); 'dyad status' says what is used, and why not rdma")
  LinkKind link = LinkKind.auto;

  @Option(
      names = "--rdma",
      split = ",",
      paramLabel = "NAME=VALUE",
      description = "how rdma is used: device, port, gid, mtu, queue-pairs, depth, receives, stripe, timeout, retries, traffic-class, beat-ms, silence-ms, setup (cm or tcp); without: the device that has this side's address, one queue pair, times by --bound")
  Map<String, String> rdma = Map.of();

  @Option(names = "--busy-poll", description = "spin instead of sleeping: lower latency for a core of its own")
  boolean busyPoll;

  @Option(names = "--spin", paramLabel = "TIME", converter = DurationConverter.class, description = "spin for so long after the last work, then sleep: such as 50us (default: sleep at once)")
  long spinNanos;

  @Option(names = "--core", paramLabel = "N", defaultValue = "-1", description = "pin the epoch thread to this core")
  int core;

  @Option(names = "--realtime", description = "real-time priority for the threads that replies wait for: steadier on a busy host; needs the right to it")
  boolean realtime;

  /**
   * To be called when the node's threads have begun.
   *
   * @throws CommandFailure when real-time priority was asked for and cannot be had
   */
  void schedule() {
    if (realtime && busyPoll) {
      throw new CommandFailure(ExitCode.USAGE, "--realtime and --busy-poll together would leave a core to nobody else, the kernel included: choose one");
    }
    if (realtime) {
      RealtimeThreads.raise();
    }
  }

  @Nullable SharedKey sharedKey() {
    try {
      return key == null ? null : SharedKey.read(key);
    } catch (IOException e) {
      throw new CommandFailure(ExitCode.DATA, String.valueOf(e.getMessage()));
    }
  }

  /**
   * The arbiter, or null for the default one. Without one that both sides share, a cut link would leave the guest running twice.
   *
   * @param peer the address at which the two sides meet
   * @throws CommandFailure when that is not this host's own and no arbiter was named
   */
  @Nullable ArbiterPlace arbiterFor(SocketAddress peer) {
    if (arbiter != null) {
      return new ArbiterPlace(arbiter);
    }
    if (peer.isInet() && !peer.toInet().getAddress().isLoopbackAddress()) {
      throw new CommandFailure(
          ExitCode.USAGE,
          peer + " is not on this host, and the two sides of a pair must share an arbiter; needed is an etcd that both reach: --arbiter http://HOST:2379 (or a file, if both sides run on this host all the same)");
    }
    return null;
  }

  LinkConfig linkConfig() {
    LinkConfig.Wish wish =
        switch (link) {
          case auto -> LinkConfig.Wish.AUTO;
          case rdma -> LinkConfig.Wish.RDMA;
          case tcp -> LinkConfig.Wish.TCP;
        };
    return LinkConfig.of(wish, Duration.ofNanos(boundNanos), core, rdma).withSpin(spinNanos);
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
