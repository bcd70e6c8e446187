package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.SteadyAllocation;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a pair does over real links, and what is left when one of the two ends. */
class NodePairTest extends NodePairFixture {
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

  /** The loop sleeps for a millisecond at a time while the link has no room. An epoch that was just cut must not wait for the end of such a sleep. */
  @Test
  void shouldShipAnEpochAsSoonAsItIsCut() throws Exception {
    startPair("tcp", EpochConfig.of(10_000_000L, BOUND), 1_000_000);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    long from = node().metrics().epochsCommitted();
    await("300 epochs", () -> node().metrics().epochsCommitted() > from + 300);

    long nanos = node().metrics().shipNanos().total().getValueAtPercentile(10);
    assertTrue(nanos < 1_000_000, "nine of ten epochs took more than " + nanos + " ns from cut to link");
  }

  @Test
  void shouldAllocateNothingOnTheEpochThreadsInSteadyState() throws Exception {
    startPair("tcp", EpochConfig.of(500_000L, BOUND), 50_000);
    await("warm", () -> node().metrics().epochsCommitted() > 8_000);
    long[] threads = {node().threadId(), standbyNode().threadId()};
    assertArrayEquals(new long[2], SteadyAllocation.bytes(threads, this::tenThousandEpochs), "bytes on both epoch threads");
  }

  private void tenThousandEpochs() throws InterruptedException {
    long epochs = node().metrics().epochsCommitted();
    await("10,000 epochs more", () -> node().metrics().epochsCommitted() >= epochs + 10_000);
  }

  private void startPair(String link, EpochConfig epochs, long nanosBetweenWrites) {
    startPair(link, epochs, nanosBetweenWrites, 0);
  }

  private void startPair(String link, EpochConfig epochs, long nanosBetweenWrites, long earlyNanos) {
    standby = startStandby(at(link), epochs);
    startPrimary(standbyNode().address(), epochs, nanosBetweenWrites, earlyNanos);
  }
}
