package dev.dyad.engine.cli;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.node.EitherStandbyHost;
import dev.dyad.engine.node.KvmStandbyHost;
import dev.dyad.engine.node.NodeReports;
import dev.dyad.engine.node.PrimaryConfig;
import dev.dyad.engine.node.ProtectedMicroVm;
import dev.dyad.engine.node.QemuStandbyHost;
import dev.dyad.engine.node.ReceivingDisk;
import dev.dyad.engine.node.StandbyConfig;
import dev.dyad.engine.node.StandbyNode;
import dev.dyad.engine.node.TakenOver;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.StatusEndpoint;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dyad standby}: waits for a machine, and goes on with it when its host dies. */
@Command(name = "standby", mixinStandardHelpOptions = true, description = "Wait for a machine and go on with it when its host dies.")
public final class StandbyCommand implements Callable<Integer> {
  private static final long ANY_PERIOD_NANOS = 10_000_000L;
  private static final Duration STOP_BOUND = Duration.ofSeconds(5);

  @Option(names = "--listen", paramLabel = "ADDRESS", required = true, converter = AddressConverter.class, description = "HOST:PORT, or unix:PATH for a primary on the same host")
  private SocketAddress listen = SocketAddress.inet("127.0.0.1", 7400);

  @Option(names = "--netdev", paramLabel = "ID=BACKEND", description = "network back end here for the guest's netdev ID, as QEMU's -netdev takes it: net0=tap,ifname=tapB,script=no,downscript=no")
  private Map<String, String> netdevs = Map.of();

  @Option(names = "--tap", paramLabel = "ID=TAP", description = "carry the frames of the guest's netdev ID, a -netdev stream or dgram on the primary, through the TAP of this name here; a microVM's card is net0")
  private Map<String, String> taps = Map.of();

  @Option(names = "--qemu-arg", paramLabel = "WORD", description = "append a word to the command line of the waiting QEMU; repeat as needed")
  private List<String> moreArguments = List.of();

  @Option(names = "--qemu-command", paramLabel = "LINE", description = "replace that command line as a whole; {directory} stands for its directory")
  private @Nullable String commandLine;

  @Option(names = "--peer", paramLabel = "ADDRESS", converter = AddressConverter.class, description = "after taking a microVM over: where the next standby listens")
  private @Nullable SocketAddress peer;

  @Option(names = "--udp", paramLabel = "ADDRESS", converter = AddressConverter.class, description = "where clients reach a microVM's service here (default: as on the primary)")
  private @Nullable SocketAddress udp;

  @Option(names = "--period", paramLabel = "TIME", defaultValue = "10ms", converter = DurationConverter.class, description = "after taking a microVM over: length of an epoch at most (default ${DEFAULT-VALUE})")
  private long periodNanos;

  @Mixin private PlaceOptions place = new PlaceOptions();

  @Mixin private DiskChoice disk = new DiskChoice();

  @ArgGroup(validate = false, heading = TuningOptions.HEADING)
  private TuningOptions tuning = new TuningOptions();

  @Mixin private NodeOptions options = new NodeOptions();

  @Override
  public Integer call() throws InterruptedException {
    ReceivingDisk receiver = disk.receiver();
    try {
      return wait(receiver);
    } finally {
      if (receiver != null) {
        receiver.close();
      }
    }
  }

  private int wait(@Nullable ReceivingDisk receiver) throws InterruptedException {
    QemuStandbyHost qemus =
        new QemuStandbyHost(
            new QemuStandbyHost.Options(netdevs, taps, moreArguments, commandLine == null ? List.of() : List.of(commandLine.trim().split("\\s+")), options.arbiterFor(listen)),
            receiver);
    EitherStandbyHost host = new EitherStandbyHost(qemus, new KvmStandbyHost(options.arbiterFor(listen), place.hugePages, tuning.tuning(), receiver));
    StandbyConfig config =
        new StandbyConfig(listen, options.sharedKey(), options.epochs(ANY_PERIOD_NANOS, true), PrimaryConfig.RING_BYTES, options.busyPoll, options.core, options.linkConfig());
    String name = "standby-" + ProcessHandle.current().pid();
    try (StopSignal stop = new StopSignal();
        StandbyNode node = new StandbyNode(config, host, receiver)) {
      node.start();
      options.schedule();
      StandbyNode.Promoted promoted;
      try (StatusEndpoint status = new StatusEndpoint(RuntimeDirectory.path(), name, node::report, NodeReports::text)) {
        System.err.println("waiting for a primary at " + node.address());
        promoted = await(node, stop);
      }
      if (promoted == null) {
        node.stop(STOP_BOUND);
        return ExitCode.OK;
      }
      if (KvmStandbyHost.isMicroVm(promoted.machine())) {
        return goOn(promoted, stop);
      }
      try (TakenOver taken = new TakenOver(promoted);
          StatusEndpoint status = new StatusEndpoint(RuntimeDirectory.path(), name, taken::report, NodeReports::text, taken::command)) {
        System.err.println("the guest goes on here: " + taken.line());
        taken.announce();
        while (!stop.asked() && taken.guestLives()) {
          Thread.sleep(100);
          taken.tend();
        }
      }
    }
    return ExitCode.OK;
  }

  /** A microVM lives on in this process, which becomes its primary. */
  private int goOn(StandbyNode.Promoted promoted, StopSignal stop) throws InterruptedException {
    ProtectedMicroVm.Options wanted =
        new ProtectedMicroVm.Options("", peer, options.sharedKey(), options.epochs(periodNanos, true), options.arbiterFor(listen), options.busyPoll, options.core, options.linkConfig());
    try (ProtectedMicroVm running = ProtectedMicroVm.goOn(promoted, place.place(udp, taps.values().stream().findFirst().orElse(null), tuning.tuning()), wanted)) {
      System.err.println(
          "the guest goes on here, from epoch " + promoted.epoch() + ", generation " + promoted.generation() + ", reached by " + running.way()
              + (peer == null ? "; it stays unprotected: no --peer was given" : "; looking for a standby at " + peer));
      return ProtectCommand.watch(running, stop);
    }
  }

  private static StandbyNode.@Nullable Promoted await(StandbyNode node, StopSignal stop) throws InterruptedException {
    while (!stop.asked()) {
      try {
        return node.promoted().get(200, TimeUnit.MILLISECONDS);
      } catch (TimeoutException e) {
        continue;
      } catch (CancellationException e) {
        return null;
      } catch (ExecutionException e) {
        throw new CommandFailure(ExitCode.UNAVAILABLE, "the standby cannot go on: " + e.getMessage());
      }
    }
    return null;
  }
}
