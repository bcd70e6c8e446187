package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertNotNull;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.FileArbiter;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.io.TempDir;

/** Both nodes in one process, over real links, with a guest made of a thread and some memory; ended after each test. */
abstract class NodePairFixture {
  static final long BOUND = 3_000_000_000L; // no pause of a busy machine is a death
  static final int PAGES = 2048;

  @TempDir Path directory = Path.of("");

  @Nullable FakeGuest guest;
  @Nullable PrimaryNode primary;
  @Nullable StandbyNode standby;
  private @Nullable FileArbiter arbiter;

  @AfterEach
  void end() {
    endPrimary();
    if (standby != null) {
      standby.stop(Duration.ofSeconds(5));
      standby.close();
    }
  }

  /** Ends the primary in good order, if it still runs, and its guest. */
  void endPrimary() {
    if (primary != null) {
      primary.detach(Duration.ofSeconds(5));
      primary.close();
      primary = null;
    }
    if (guest != null) {
      guest.close();
      guest = null;
    }
    if (arbiter != null) {
      arbiter.close();
      arbiter = null;
    }
  }

  /** Where a standby listens: {@code tcp} or {@code shm}. */
  SocketAddress at(String link) {
    return link.equals("tcp") ? SocketAddress.inet("127.0.0.1", 0) : SocketAddress.unix(directory.resolve("link").toString());
  }

  /** A guest under way, which its primary protects at {@code to}. */
  void startPrimary(SocketAddress to, EpochConfig epochs, long nanosBetweenWrites, long earlyNanos) {
    guest = new FakeGuest(PAGES, 1, nanosBetweenWrites);
    arbiter = FileArbiter.open(generationFile());
    PrimaryConfig config = new PrimaryConfig("fake", "fake-1", to, null, epochs, 8 << 20, 1024, 4 << 20, false, -1, LinkConfig.standard(), earlyNanos);
    GuestOutput output = new GuestOutput(new OutputEpoch(1), new ReleaseGate(arbiter::newest, 0), List.of());
    MachineEnvelope envelope = new MachineEnvelope("fake", generationFile().toString(), epochs.detectorNanos(), new byte[0]);
    primary = new PrimaryNode(config, guest, output, new NodePage(List.of(), List.of()), arbiter, 1, envelope);
    primary.start(PrimaryNode.generationFor(arbiter, "fake-1", "test"));
  }

  StandbyNode startStandby(SocketAddress listen, EpochConfig epochs) {
    return startStandby(listen, epochs, new Host());
  }

  StandbyNode startStandby(SocketAddress listen, EpochConfig epochs, StandbyNode.Host host) {
    StandbyNode node = new StandbyNode(new StandbyConfig(listen, null, epochs, 8 << 20, false, -1), host);
    node.start();
    return node;
  }

  /** Builds machines for {@link FakeGuest}s. */
  static class Host implements StandbyNode.Host {
    @Override
    public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
      return new FakeStandbyMachine(memory);
    }

    @Override
    public Arbiter arbiter(MachineEnvelope envelope) {
      return FileArbiter.open(Path.of(envelope.arbiter()));
    }

    @Override
    public String identity(StandbyMachine machine) {
      return "fake-standby";
    }
  }

  Path generationFile() {
    return directory.resolve("generation");
  }

  PrimaryNode node() {
    assertNotNull(primary);
    return primary;
  }

  StandbyNode standbyNode() {
    assertNotNull(standby);
    return standby;
  }

  void await(String what, BooleanSupplier condition) throws InterruptedException {
    long giveUpAt = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > giveUpAt) {
        throw new AssertionError("not within a minute: " + what + "; primary " + (primary == null ? null : primary.report()) + ", standby "
            + (standby == null ? null : standby.report()));
      }
      Thread.sleep(5);
    }
  }
}
