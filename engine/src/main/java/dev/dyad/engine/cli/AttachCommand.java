package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.node.AttachedQemu;
import dev.dyad.engine.node.NodeReports;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dyad attach}: protects a QEMU that is already running, until it is told to stop. */
@Command(
    name = "attach",
    mixinStandardHelpOptions = true,
    description = "Protect a QEMU that is already running; Ctrl-C lets go of it unharmed.")
public final class AttachCommand implements Callable<Integer> {
  /** One of the two ways to name a QEMU. */
  static final class Which {
    @Option(names = "--qmp", paramLabel = "SOCKET", description = "QEMU's QMP socket")
    @Nullable Path qmp;

    @Option(names = "--pid", paramLabel = "PID", description = "QEMU's process; its QMP socket is taken from its command line")
    int pid;
  }

  @ArgGroup(multiplicity = "1")
  private Which which = new Which();

  @Option(names = "--to", paramLabel = "ADDRESS", required = true, converter = AddressConverter.class, description = "where the standby listens: HOST:PORT, or unix:PATH on the same host")
  private SocketAddress standby = SocketAddress.inet("127.0.0.1", 7400);

  @Option(names = "--period", paramLabel = "TIME", defaultValue = "10ms", converter = DurationConverter.class, description = "length of an epoch at most (default ${DEFAULT-VALUE})")
  private long periodNanos;

  @Option(names = "--adaptive", negatable = true, defaultValue = "true", fallbackValue = "true", description = "end an epoch as soon as output waits and no commit is under way (default)")
  private boolean adaptive;

  @Option(names = "--name", paramLabel = "NAME", defaultValue = "", description = "name of the guest in status and generation file (default: qemu-PID)")
  private String name = "";

  @Option(names = "--tap", paramLabel = "ID=TAP", description = "carry the frames of netdev ID, started as -netdev stream,server=on or dgram on a unix socket, through the TAP of this name")
  private Map<String, String> taps = Map.of();

  @Mixin private DiskChoice disk = new DiskChoice();

  @Mixin private NodeOptions options = new NodeOptions();

  @Override
  public Integer call() throws InterruptedException {
    AttachedQemu.Options wanted =
        new AttachedQemu.Options(
            name, standby, options.sharedKey(), options.epochs(periodNanos, adaptive), options.arbiterFor(standby), options.busyPoll, options.core, taps, options.linkConfig(), disk.chosen());
    try (StopSignal stop = new StopSignal();
        AttachedQemu attached = AttachedQemu.attach(which.qmp, which.pid, wanted);
        StatusEndpoint status = new StatusEndpoint(RuntimeDirectory.path(), "primary-" + ProcessHandle.current().pid(), attached::report, NodeReports::text, attached::command)) {
      options.schedule();
      System.err.println("attached to QEMU " + attached.pid() + ", looking for a standby at " + standby);
      while (!stop.asked() && !attached.node().awaitEnd(Duration.ofMillis(200))) {
        // The loop works; this thread waits for its end or for a signal.
      }
      Throwable failure = attached.node().failure();
      if (failure != null) {
        throw new CommandFailure(ExitCode.UNAVAILABLE, "replication ended: " + failure.getMessage());
      }
      if (attached.isFenced()) {
        throw new CommandFailure(ExitCode.FENCED, "the other side goes on with this guest; the machine here is stopped and nothing leaves it any more");
      }
    }
    return ExitCode.OK;
  }
}
