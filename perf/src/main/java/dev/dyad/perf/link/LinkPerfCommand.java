package dev.dyad.perf.link;

import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.PortState;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.bindings.verbs.Verbs;
import dev.dyad.engine.cli.CommandFailure;
import dev.dyad.engine.cli.ExitCode;
import dev.dyad.engine.cli.OutputFormat;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code dyad perf link}: on one host with {@code --listen}, on the other with {@code --peer}; in the lab neither is needed. */
@Command(
    name = "link",
    mixinStandardHelpOptions = true,
    description = {"The link over RDMA beside perftest, on two hosts, in turn.", "Without two hosts: dyad lab up, then dyad lab run perf link."})
public final class LinkPerfCommand implements Callable<Integer> {
  @Option(names = "--listen", description = "serve one run from this host")
  private boolean listen;

  @Option(names = "--address", paramLabel = "ADDRESS", description = "of this host's RDMA device (default: LAB_ADDRESS)")
  private @Nullable String address = System.getenv("LAB_ADDRESS");

  @Option(names = "--peer", paramLabel = "ADDRESS", description = "the host that listens (default: LAB_PEER)")
  private @Nullable String peer = System.getenv("LAB_PEER");

  @Option(names = "--queue-pairs", defaultValue = "1", description = "of the link (default: ${DEFAULT-VALUE})")
  private int queuePairs;

  @Option(names = "--busy-poll",
      description = "our link's threads spin instead of sleeping, as with the same option of a node; for hosts with processors to spare. Small commits are measured both ways")
  private boolean busyPoll;

  @Option(names = "--seconds", defaultValue = "2", description = "for each figure of bandwidth (default: ${DEFAULT-VALUE})")
  private double seconds;

  @Option(names = "--only", split = ",", paramLabel = "PART", description = "of ${COMPLETION-CANDIDATES}; may be given more than once (default: all)")
  private Set<Part> only = EnumSet.allOf(Part.class);

  @Option(names = "-o", paramLabel = "FORMAT", defaultValue = "text", description = "text or json")
  private OutputFormat format = OutputFormat.text;

  private record Place(String device, int gidIndex, int mtuBytes) {}

  @Override
  public Integer call() throws IOException {
    if (address == null || (peer == null && !listen)) {
      throw new CommandFailure(ExitCode.USAGE, "an --address of this host's RDMA device and --peer or --listen are needed; without two hosts: dyad lab run perf link");
    }
    Place place = place(address);
    RdmaConfig config = RdmaConfig.standard().withTimes(17, Duration.ofMillis(200), Duration.ofSeconds(10)).withQueuePairs(queuePairs, 1 << 16);
    if (listen || "2".equals(System.getenv("LAB_NUMBER"))) {
      new LinkPerfServer(address, place.device, place.gidIndex, config).serve();
      return ExitCode.OK;
    }
    // The figures as they come; a program gets the object alone on its standard output, at the end.
    PrintStream rows = format == OutputFormat.json ? System.err : System.out;
    rows.printf("%-13s %9s %12s %12s %7s%n", "", "bytes", "ours", "perftest", "ratio");
    try (LinkPerfClient client = new LinkPerfClient(String.valueOf(peer), place.device, place.gidIndex, place.mtuBytes, config, busyPoll, seconds, only, row -> print(rows, row))) {
      Map<String, Object> report = client.measure();
      rows.println("allocated while measuring: " + report.get("allocatedBytes") + " bytes");
      if (format == OutputFormat.json) {
        System.out.println(Json.write(report));
      }
    }
    return ExitCode.OK;
  }

  private static Place place(String address) throws IOException {
    if (!Verbs.unavailable().isEmpty()) {
      throw new CommandFailure(ExitCode.UNAVAILABLE, Verbs.unavailable());
    }
    for (RdmaDevice found : RdmaDevice.list()) {
      try (RdmaContext device = RdmaContext.open(found.name())) {
        Optional<Gid> gid = device.gidOf(InetAddress.getByName(address));
        if (gid.isPresent()) {
          return new Place(found.name(), gid.get().index(), PortState.mtuBytes(device.port(gid.get().port()).activeMtu()));
        }
      }
    }
    throw new CommandFailure(ExitCode.UNAVAILABLE, "no RDMA device here has the address " + address + "; see 'rdma link' and 'ibv_devinfo -v'");
  }

  private static void print(PrintStream to, Map<String, Object> row) {
    String rare = row.containsKey("oursP99")
        ? String.format("  p99 %s / %s, max %s / %s", row.get("oursP99"), row.get("peerP99"), row.get("oursMax"), row.get("peerMax"))
        : "";
    to.printf("%-13s %9s %12s %12s %7s  %s%s%n", row.get("op"), row.get("bytes"), row.get("ours"), row.get("peer"), row.get("ratio"), row.get("unit"), rare);
    to.flush();
  }
}
