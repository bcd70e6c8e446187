package dev.dyad.hwtests.pair;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import dev.dyad.engine.node.KvmStandbyHost;
import dev.dyad.engine.node.MicroVmPlace;
import dev.dyad.engine.node.PrimaryConfig;
import dev.dyad.engine.node.ProtectedMicroVm;
import dev.dyad.engine.node.StandbyConfig;
import dev.dyad.engine.node.StandbyNode;
import dev.dyad.perf.pair.MicroVmPair;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

/**
 * What {@code dyad protect} and {@code dyad standby} do, in a process that says on its standard output whenever its status changes:
 * {@code status ROLE STATE protected=BOOLEAN link=… guest=on|done CHECKSUM why=…}, and {@code ended STATE} when it runs the guest no more; then it
 * is a standby. As a standby it wants the link that {@link #WISH} names, as a primary it takes what comes. Without the command line, whose reading
 * takes an emulated host longer than everything else. Arguments are {@code NAME=VALUE}.
 */
final class NodePeer {
  /** Where the hosts see which link is wanted, {@link LinkConfig.Wish}. */
  static final String WISH = "link";

  private static final int PORT = 7400;
  private static final long PAGES = 200;
  private static final int MEMORY_MIB = 32;
  private static final long WRITES_PER_TICK = 5;
  private static final long PERIOD_NANOS = 50_000_000L;
  private static final Duration POLL = Duration.ofMillis(100);
  private static final SocketAddress SERVICE = SocketAddress.inet("127.0.0.1", 11211);

  private final long writes;
  private final SocketAddress own;
  private final EpochConfig epochs;
  private final Duration bound;
  private final ArbiterPlace arbiter;
  private final SharedKey key;
  private final ProtectedMicroVm.Options wanted;
  private String said = "";

  private NodePeer(Map<String, String> options) throws IOException {
    bound = Duration.ofMillis(Long.parseLong(options.getOrDefault("bound", "")));
    writes = Long.parseLong(options.getOrDefault("writes", ""));
    own = SocketAddress.inet(System.getenv("LAB_ADDRESS"), PORT);
    epochs = EpochConfig.of(PERIOD_NANOS, bound.toNanos());
    arbiter = new ArbiterPlace(options.getOrDefault("arbiter", ""));
    key = key();
    var peer = SocketAddress.inet(options.getOrDefault("peer", ""), PORT);
    wanted = new ProtectedMicroVm.Options("guest", peer, key, epochs, arbiter, false, -1, link(LinkConfig.Wish.AUTO));
  }

  private LinkConfig link(LinkConfig.Wish wish) {
    return LinkConfig.of(wish, bound, -1, Map.of());
  }

  private static LinkConfig.Wish wish() throws IOException {
    return LinkConfig.Wish.valueOf(Files.readString(Path.of("/run/shared", WISH)).strip());
  }

  private static SharedKey key() throws IOException {
    var file = Path.of("/run/tmp/key");
    Files.deleteIfExists(file);
    Files.createFile(file, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
    Files.writeString(file, "known to both hosts of a lab");
    return SharedKey.read(file);
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    var options = Arrays.stream(args).skip(1).map(word -> word.split("=", 2)).collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
    var peer = new NodePeer(options);
    if (args[0].equals("protect")) {
      peer.protect();
    }
    boolean undisturbed = Boolean.parseBoolean(options.get("undisturbed"));
    while (true) {
      peer.standby(undisturbed);
      undisturbed = false;
    }
  }

  private void protect() {
    var machine = new ProtectedMicroVm.Machine((long) MEMORY_MIB << 20, 1, SERVICE, PAGES, WRITES_PER_TICK, writes);
    try (var running = ProtectedMicroVm.boot(machine, wanted)) {
      watch(running);
    }
  }

  /** @param undisturbed whether to tell first what the guest's checksum is when nothing happens to it */
  private void standby(boolean undisturbed) throws IOException, InterruptedException {
    var wish = wish();
    var config = new StandbyConfig(own, key, epochs, PrimaryConfig.RING_BYTES, false, -1, link(wish));
    try (var node = new StandbyNode(config, new KvmStandbyHost(arbiter, false))) {
      node.start();
      if (undisturbed) {
        System.out.println("undisturbed " + MicroVmPair.undisturbedChecksum(new MicroVmPair.Options("", "", MEMORY_MIB, 1, PAGES, 0, writes)));
      }
      while (true) {
        say("standby", node.report());
        if (node.state() == StandbyState.WAITING && wish() != wish) {
          node.stop(bound);
          return;
        }
        try {
          var promoted = node.promoted().get(POLL.toMillis(), TimeUnit.MILLISECONDS);
          try (var running = ProtectedMicroVm.goOn(promoted, MicroVmPlace.udp(SERVICE), wanted)) {
            watch(running);
          }
          return;
        } catch (TimeoutException e) {
          continue;
        } catch (CancellationException | ExecutionException e) {
          System.out.println("ended " + e);
          return;
        }
      }
    }
  }

  private void watch(ProtectedMicroVm running) {
    do {
      say("primary", running.report());
    } while (!running.node().awaitEnd(POLL));
    System.out.println("ended " + running.node().state() + (running.node().failure() == null ? "" : " " + running.node().failure()));
  }

  private void say(String role, Map<String, Object> report) {
    var work = report.get("builtin") instanceof Map<?, ?> guest ? Boolean.TRUE.equals(guest.get("done")) ? "done " + guest.get("checksum") : "on" : "none";
    var now = "status " + role + " " + report.get("state") + " protected=" + report.get("protected") + " link=" + report.get("link") + " guest=" + work + " why=" + report.get("why");
    if (!now.equals(said)) {
      said = now;
      System.out.println(now);
    }
  }
}
