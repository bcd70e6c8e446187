package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.node.NodeReports;
import dev.dyad.engine.node.ProtectedMicroVm;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
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

  /** What boots. */
  static final class What {
    @Option(names = "--guest", paramLabel = "GUEST", description = "builtin: the guest that comes with Dyad, a key-value service over UDP at 10.77.0.2 (default)")
    @Nullable Guest guest;

    @Option(names = "--kernel", paramLabel = "FILE", description = "a Linux kernel: bzImage or vmlinux")
    @Nullable Path kernel;
  }

  @ArgGroup private @Nullable What what;

  @Option(names = "--initrd", paramLabel = "FILE", description = "the kernel's initial RAM disk")
  private @Nullable Path initrd;

  @Option(names = "--append", paramLabel = "WORDS", defaultValue = "", description = "more words for the kernel's command line, after those that this machine needs")
  private String append = "";

  @Option(names = "--memory", paramLabel = "SIZE", defaultValue = "64M", converter = SizeConverter.class, description = "memory of the guest (default ${DEFAULT-VALUE})")
  private long memoryBytes;

  @Option(names = "--vcpus", paramLabel = "N", defaultValue = "1", description = "number of vCPUs (default ${DEFAULT-VALUE})")
  private int vcpus;

  @Option(names = "--to", paramLabel = "ADDRESS", required = true, converter = AddressConverter.class, description = "where the standby listens: HOST:PORT, or unix:PATH on the same host")
  private SocketAddress standby = SocketAddress.inet("127.0.0.1", 7400);

  @Option(names = "--udp", paramLabel = "ADDRESS", defaultValue = "127.0.0.1:11211", converter = AddressConverter.class, description = "where clients reach the guest's UDP service, IPv4; a kernel's is at the same port of 10.77.0.2 (default ${DEFAULT-VALUE})")
  private SocketAddress udp = SocketAddress.inet("127.0.0.1", 11211);

  @Option(names = "--tap", paramLabel = "NAME", description = "a TAP of this host is the other end of the guest's network card, instead of --udp")
  private @Nullable String tap;

  @Mixin private PlaceOptions place = new PlaceOptions();

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

  @ArgGroup(validate = false, heading = TuningOptions.HEADING)
  private TuningOptions tuning = new TuningOptions();

  @Mixin private DiskChoice disk = new DiskChoice();

  @Mixin private NodeOptions options = new NodeOptions();

  @Override
  public Integer call() throws InterruptedException {
    ProtectedMicroVm.Options wanted =
        new ProtectedMicroVm.Options(
            name, standby, options.sharedKey(), options.epochs(periodNanos, adaptive), options.arbiterFor(standby), options.busyPoll, options.core, options.linkConfig(), disk.chosen());
    Path kernel = what == null ? null : what.kernel;
    try (StopSignal stop = new StopSignal();
        ProtectedMicroVm running = kernel == null ? builtin(wanted) : linux(kernel, wanted)) {
      options.schedule();
      System.err.println((kernel == null ? "builtin guest" : kernel.toString()) + " runs, reached by " + running.way() + "; looking for a standby at " + standby);
      return watch(running, stop);
    }
  }

  private ProtectedMicroVm builtin(ProtectedMicroVm.Options wanted) {
    if (initrd != null || !append.isEmpty()) {
      throw new CommandFailure(ExitCode.USAGE, "--initrd and --append are for --kernel FILE; the built-in guest takes neither");
    }
    return ProtectedMicroVm.boot(new ProtectedMicroVm.Machine(memoryBytes, vcpus, udp, pages, writesPerTick, stopAfter), place.place(udp, tap, tuning.tuning()), wanted);
  }

  private ProtectedMicroVm linux(Path kernel, ProtectedMicroVm.Options wanted) {
    if (pages != 0 || stopAfter != 0) {
      throw new CommandFailure(ExitCode.USAGE, "--pages, --writes and --stop-after are for the built-in guest; a kernel does what its programs do");
    }
    return ProtectedMicroVm.boot(new ProtectedMicroVm.Kernel(kernel, initrd, append, memoryBytes, vcpus), place.place(udp, tap, tuning.tuning()), wanted);
  }

  /** Answers status until the guest ends, the other side has it, or somebody asks to stop. */
  static int watch(ProtectedMicroVm running, StopSignal stop) throws InterruptedException {
    String status = "primary-" + ProcessHandle.current().pid();
    try (StatusEndpoint endpoint = new StatusEndpoint(RuntimeDirectory.path(), status, running::report, NodeReports::text, running.node()::command)) {
      String said = "";
      while (!stop.asked() && running.isOn() && !running.node().awaitEnd(Duration.ofMillis(200))) {
        String problem = running.node().connectProblem();
        if (!problem.equals(said) && !problem.isEmpty()) {
          System.err.println("not protected, the guest runs on: " + problem + "; needed is a standby there: dyad standby --listen ADDRESS");
        }
        said = problem;
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
