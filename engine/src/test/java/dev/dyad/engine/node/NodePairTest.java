package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.FileArbiter;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Both nodes in one process, over real links, with a guest made of a thread and some memory. */
class NodePairTest {
  private static final long BOUND = 3_000_000_000L; // no pause of a busy machine is a death
  private static final int PAGES = 2048;

  @TempDir private Path directory = Path.of("");

  private @Nullable FakeGuest guest;
  private @Nullable PrimaryNode primary;
  private @Nullable StandbyNode standby;
  private @Nullable FileArbiter arbiter;

  @AfterEach
  void end() {
    if (primary != null) {
      primary.detach(Duration.ofSeconds(5));
      primary.close();
    }
    if (standby != null) {
      standby.stop(Duration.ofSeconds(5));
      standby.close();
    }
    if (guest != null) {
      guest.close();
    }
    if (arbiter != null) {
      arbiter.close();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"tcp", "shm"})
  void shouldGoOnFromOneInstantWhenThePrimaryIsCutOff(String link) throws Exception {
    startPair(link, EpochConfig.of(2_000_000L, BOUND), 20_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    long from = node().metrics().epochsCommitted();
    await("200 epochs", () -> node().metrics().epochsCommitted() > from + 200);

    node().kill();

    StandbyNode.Promoted promoted = standbyNode().promoted().get(10, TimeUnit.SECONDS);
    FakeStandbyMachine machine = (FakeStandbyMachine) promoted.machine();
    assertTrue(machine.writes() > 0, "state " + machine.writes());
    assertEquals(machine.writes(), machine.newestWrite(), "memory and state are of one instant");
    assertTrue(promoted.epoch() >= from + 200, "epoch " + promoted.epoch());
    machine.close();
  }

  @ParameterizedTest
  @ValueSource(strings = {"tcp", "shm"})
  void shouldGoOnFromOneInstantWhenPagesAreShippedEarly(String link) throws Exception {
    startPair(link, EpochConfig.of(4_000_000L, BOUND), 20_000, 1_000_000L);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    long from = node().metrics().epochsCommitted();
    await("200 epochs", () -> node().metrics().epochsCommitted() > from + 200);
    assertTrue(node().metrics().pagesShippedEarly() > 0, "nothing was shipped early");

    node().kill();

    StandbyNode.Promoted promoted = standbyNode().promoted().get(10, TimeUnit.SECONDS);
    FakeStandbyMachine machine = (FakeStandbyMachine) promoted.machine();
    assertEquals(machine.writes(), machine.newestWrite(), "memory and state are of one instant");
    machine.close();
  }

  @Test
  void shouldEndAnEpochBeforeItsTimeWhenTheRingIsFull() throws Exception {
    startPair("shm", EpochConfig.of(20_000_000_000L, 2 * BOUND), 20_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    for (int i = 0; i < 5; i++) {
      long committed = node().metrics().epochsCommitted();
      node().endEpoch();
      await("an epoch's end long before its period", () -> node().metrics().epochsCommitted() > committed);
    }
    assertEquals(5, node().metrics().ringsFull());
  }

  @Test
  void shouldRunOnAloneWhenTheStandbyDiesAndProtectAgain() throws Exception {
    startPair("tcp", EpochConfig.of(2_000_000L, BOUND), 20_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    SocketAddress listen = standbyNode().address();

    standbyNode().kill();
    await("alone", () -> node().state() == PrimaryState.ALONE);

    standby = startStandby(listen, EpochConfig.of(2_000_000L, BOUND));
    await("protected again", () -> node().state() == PrimaryState.PROTECTED);
  }

  @Test
  void shouldNotBeTakenForDeadWhileItsGuestIsSlowToStop() throws Exception {
    long bound = 1_000_000_000L;
    startPair("tcp", EpochConfig.of(2_000_000L, bound), 20_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    assertNotNull(guest);
    guest.stopSlowly(2 * bound + bound / 2);
    long from = node().metrics().epochsCommitted();

    await("three epochs", () -> node().metrics().epochsCommitted() >= from + 3);

    assertEquals(PrimaryState.PROTECTED, node().state());
    assertEquals(StandbyState.READY, standbyNode().state());
    guest.stopSlowly(0);
  }

  @Test
  void shouldLeaveNothingBehindWhenThePrimaryDetaches() throws Exception {
    startPair("tcp", EpochConfig.of(2_000_000L, BOUND), 20_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);

    assertTrue(node().detach(Duration.ofSeconds(5)));

    assertEquals(PrimaryState.STOPPED, node().state());
    await("standby waits for another primary", () -> standbyNode().state() == StandbyState.WAITING);
    assertTrue(!standbyNode().promoted().isDone(), "a detached guest must not go on at the standby");
  }

  @Test
  void shouldAllocateNothingOnTheEpochThreadsInSteadyState() throws Exception {
    startPair("tcp", EpochConfig.of(500_000L, BOUND), 50_000);
    await("warm", () -> node().metrics().epochsCommitted() > 8_000);
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long least = Long.MAX_VALUE;
    // The JIT compiler may still undo a compilation once, which makes the objects it had removed; what an epoch allocates shows in every window.
    for (int window = 0; window < 6 && least > 0; window++) {
      long epochs = node().metrics().epochsCommitted();
      long before = threads.getThreadAllocatedBytes(node().threadId()) + threads.getThreadAllocatedBytes(standbyNode().threadId());
      await("10,000 epochs more", () -> node().metrics().epochsCommitted() > epochs + 10_000);
      long after = threads.getThreadAllocatedBytes(node().threadId()) + threads.getThreadAllocatedBytes(standbyNode().threadId());
      least = Math.min(least, after - before);
    }
    assertEquals(0, least, "bytes on both epoch threads over 10,000 epochs");
  }

  private void startPair(String link, EpochConfig epochs, long nanosBetweenWrites) {
    startPair(link, epochs, nanosBetweenWrites, 0);
  }

  private void startPair(String link, EpochConfig epochs, long nanosBetweenWrites, long earlyNanos) {
    SocketAddress at = link.equals("tcp") ? SocketAddress.inet("127.0.0.1", 0) : SocketAddress.unix(directory.resolve("link").toString());
    standby = startStandby(at, epochs);
    guest = new FakeGuest(PAGES, 1, nanosBetweenWrites);
    arbiter = FileArbiter.open(generationFile());
    PrimaryConfig config = new PrimaryConfig("fake", "fake-1", standbyNode().address(), null, epochs, 8 << 20, 1024, 4 << 20, false, -1).withEarlyNanos(earlyNanos);
    GuestOutput output = new GuestOutput(new OutputEpoch(1), new ReleaseGate(arbiter::newest, 0), List.of());
    MachineEnvelope envelope = new MachineEnvelope("fake", generationFile().toString(), epochs.detectorNanos(), new byte[0]);
    primary = new PrimaryNode(config, guest, output, new NodePage(List.of(), List.of()), arbiter, 1, envelope);
    primary.start(PrimaryNode.generationFor(arbiter, "fake-1", "test"));
  }

  private StandbyNode startStandby(SocketAddress listen, EpochConfig epochs) {
    StandbyNode node =
        new StandbyNode(
            new StandbyConfig(listen, null, epochs, 8 << 20, false, -1),
            new StandbyNode.Host() {
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
            });
    node.start();
    return node;
  }

  private Path generationFile() {
    return directory.resolve("generation");
  }

  private PrimaryNode node() {
    assertNotNull(primary);
    return primary;
  }

  private StandbyNode standbyNode() {
    assertNotNull(standby);
    return standby;
  }

  private void await(String what, BooleanSupplier condition) throws InterruptedException {
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
