package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.LinkConfig;
import java.nio.file.Path;
import java.time.Duration;

/**
 * A process that protects a microVM with a standby beside it for a number of epochs and then says what is on its heap. For a JVM that never
 * frees anything.
 */
final class EpochSoak {
  private static final long MEMORY = 32L << 20;
  private static final long PERIOD_NANOS = 200_000;
  private static final long BOUND_NANOS = 10_000_000_000L;

  private EpochSoak() {}

  /** Arguments: number of epochs, a directory of its own. */
  public static void main(String[] arguments) throws InterruptedException {
    long wanted = Long.parseLong(arguments[0]);
    Path directory = Path.of(arguments[1]);
    EpochConfig epochs = EpochConfig.of(PERIOD_NANOS, BOUND_NANOS);
    try (StandbyNode standby =
        new StandbyNode(new StandbyConfig(SocketAddress.inet("127.0.0.1", 0), null, epochs, PrimaryConfig.RING_BYTES, false, -1), new KvmStandbyHost(null, false))) {
      standby.start();
      ProtectedMicroVm.Machine machine = new ProtectedMicroVm.Machine(MEMORY, 1, SocketAddress.inet("127.0.0.1", 0), 64, 100, 0);
      ProtectedMicroVm.Options options = new ProtectedMicroVm.Options("soak", standby.address(), null, epochs, ArbiterPlace.file(directory.resolve("generation")), false, -1, LinkConfig.standard());
      try (ProtectedMicroVm running = ProtectedMicroVm.boot(machine, options)) {
        long shown = 0;
        long committed = 0;
        boolean wasProtected = false;
        while (committed < wanted) {
          Thread.sleep(20);
          committed = running.node().metrics().epochsCommitted();
          boolean isProtected = running.node().state() == PrimaryState.PROTECTED;
          wasProtected |= isProtected;
          if (running.node().failure() != null || (wasProtected && !isProtected) || standby.state() == StandbyState.STOPPED) {
            System.out.println("ended after " + committed + " epochs: " + running.node().state() + " " + running.node().failure());
            return;
          }
          if (committed - shown >= wanted / 10) {
            shown = committed;
            System.out.println("heap " + usedKib() + " KiB after " + committed);
          }
        }
        System.out.println("epochs " + committed);
        System.out.flush();
      }
      standby.stop(Duration.ofSeconds(5));
    }
  }

  private static long usedKib() {
    Runtime runtime = Runtime.getRuntime();
    return (runtime.totalMemory() - runtime.freeMemory()) >> 10;
  }
}
