package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.node.NodeReports;
import dev.dyad.engine.node.ProtectedMicroVm;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.time.Duration;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dyad protect}: runs a microVM in this process and protects it, until it is told to stop. */
@Command(
    name = "protect",
    mixinStandardHelpOptions = true,
    description = "Run a microVM here and protect it; Ctrl-C ends protection and the guest.")
public final class ProtectCommand implements Callable<Integer> {
  /** What is run. Lower case, as it is typed. */
  enum Guest {
    builtin
  }

  @Option(names = "--guest", paramLabel = "GUEST", defaultValue = "builtin", description = "builtin: the guest that comes with Dyad, a key-value service over UDP (default)")
  private Guest guest = Guest.builtin;

  @Option(names = "--memory", paramLabel = "SIZE", defaultValue = "64M", converter = SizeConverter.class, description = "memory of the guest (default ${DEFAULT-VALUE})")
  private long memoryBytes;

  @Option(names = "--vcpus", paramLabel = "N", defaultValue = "1", description = "number of vCPUs (default ${DEFAULT-VALUE})")
  private int vcpus;

  @Option(names = "--to", paramLabel = "ADDRESS", required = true, converter = AddressConverter.class, description = "where the standby listens: HOST:PORT, or unix:PATH on the same host")
  private SocketAddress standby = SocketAddress.inet("127.0.0.1", 7400);

  @Option(names = "--udp", paramLabel = "ADDRESS", defaultValue = "127.0.0.1:11211", converter = AddressConverter.class, description = "where clients reach the guest's service, IPv4 (default ${DEFAULT-VALUE})")
  private SocketAddress udp = SocketAddress.inet("127.0.0.1", 11211);

  @Option(names = "--period", paramLabel = "TIME", defaultValue = "10ms", converter = DurationConverter.class, description = "length of an epoch at most (default ${DEFAULT-VALUE})")
  private long periodNanos;

  @Option(names = "--adaptive", negatable = true, defaultValue = "true", fallbackValue = "true", description = "end an epoch as soon as output waits and no commit is under way (default)")
  private boolean adaptive;

  @Option(names = "--name", paramLabel = "NAME", defaultValue = "", description = "name of the guest in status and generation file (default: microvm-PID)")
  private String name = "";

  @Option(names = "--pages", paramLabel = "N", defaultValue = "0", description = "pages that each vCPU of the built-in guest writes to at random (default ${DEFAULT-VALUE})")
  private long pages;

  @Option(names = "--writes", paramLabel = "N", defaultValue = "100", description = "its writes in a tick of 10 ms; 0: as many as it can (default ${DEFAULT-VALUE})")
  private long writesPerTick;

  @Option(names = "--stop-after", paramLabel = "N", defaultValue = "0", description = "writes after which it adds up its checksum; 0: never (default)")
  private long stopAfter;

  @Mixin private NodeOptions options = new NodeOptions();

  @Override
  public Integer call() throws InterruptedException {
    ProtectedMicroVm.Machine machine = new ProtectedMicroVm.Machine(memoryBytes, vcpus, udp, pages, writesPerTick, stopAfter);
    ProtectedMicroVm.Options wanted =
        new ProtectedMicroVm.Options(name, standby, options.sharedKey(), options.epochs(periodNanos, adaptive), options.arbiterFor(standby), options.busyPoll, options.core, options.linkConfig());
    try (StopSignal stop = new StopSignal();
        ProtectedMicroVm running = ProtectedMicroVm.boot(machine, wanted)) {
      System.err.println(guest + " guest runs, its service at UDP " + running.udp() + "; looking for a standby at " + standby);
      return watch(running, stop);
    }
  }

  /** Answers status until the guest ends, the other side has it, or somebody asks to stop. */
  static int watch(ProtectedMicroVm running, StopSignal stop) throws InterruptedException {
    String status = "primary-" + ProcessHandle.current().pid();
    try (StatusEndpoint endpoint = new StatusEndpoint(RuntimeDirectory.path(), status, running::report, NodeReports::text)) {
      while (!stop.asked() && running.isOn() && !running.node().awaitEnd(Duration.ofMillis(200))) {
        // The loop works; this thread waits for its end or for a signal.
      }
    }
    Throwable failure = running.node().failure();
    if (failure != null) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, "replication ended: " + failure.getMessage());
    }
    if (running.isFenced()) {
      throw new CommandFailure(ExitCode.FENCED, "the other side goes on with this guest; the machine here is stopped and nothing leaves it any more");
    }
    if (!running.isOn()) {
      System.err.println("the guest has ended: " + running.powerLine());
    }
    return ExitCode.OK;
  }
}
