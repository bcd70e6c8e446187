package dev.dyad.engine.node;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.Channel;
import dev.dyad.engine.link.Offer;
import dev.dyad.engine.link.PeerCaller;
import dev.dyad.engine.link.PeerListener;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.Session;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.LinkMaker;
import dev.dyad.engine.link.Role;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import dev.dyad.engine.memory.EpochWriter;
import dev.dyad.engine.memory.LastSent;
import dev.dyad.engine.memory.MemoryFrame;
import dev.dyad.engine.wire.Reason;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** One of the two goes while the standby builds its machine, which takes a QEMU seconds and which the protocol does not watch. */
@Timeout(120)
class NodeBuildTest extends NodePairFixture {
  private static final EpochConfig EPOCHS = EpochConfig.of(2_000_000L, BOUND);

  private final SlowHost host = new SlowHost();

  /** Builds a machine when it is allowed to. */
  private static final class SlowHost extends Host {
    final Semaphore begun = new Semaphore(0);
    final Semaphore allowed = new Semaphore(0);
    final List<FakeStandbyMachine> built = new CopyOnWriteArrayList<>();

    @Override
    public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
      begun.release();
      allowed.acquireUninterruptibly();
      FakeStandbyMachine machine = new FakeStandbyMachine(memory);
      built.add(machine);
      return machine;
    }
  }

  @Test
  void shouldWaitAgainAndKeepNoMachineWhenThePrimaryDies() throws Exception {
    startWithSlowStandby(EPOCHS);

    node().kill();
    await("the standby says that it waits again", () -> why(standbyNode().report()).contains("gone before its machine was built"));
    assertEquals(StandbyState.WAITING, standbyNode().state());
    host.allowed.release();
    await("the machine is discarded", () -> host.built.size() == 1 && host.built.getFirst().isClosed());

    endPrimary();
    startPrimary(standbyNode().address(), EPOCHS, 20_000, 0);
    host.allowed.release();
    await("the next primary is protected", () -> node().state() == PrimaryState.PROTECTED);
  }

  @Test
  void shouldGiveTheNextPrimaryAMachineOfItsOwn() throws Exception {
    startWithSlowStandby(EPOCHS);
    node().kill();
    await("the standby has noticed", () -> why(standbyNode().report()).contains("gone before"));
    endPrimary();
    startPrimary(standbyNode().address(), EPOCHS, 20_000, 0);
    await("the next primary is there", () -> why(standbyNode().report()).contains("is connected"));

    host.allowed.release(2);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    long from = node().metrics().epochsCommitted();
    await("100 epochs", () -> node().metrics().epochsCommitted() > from + 100);
    assertEquals(2, host.built.size());
    assertTrue(host.built.get(0).isClosed(), "the first primary's machine");

    node().kill();
    FakeStandbyMachine machine = (FakeStandbyMachine) standbyNode().promoted().get(10, TimeUnit.SECONDS).machine();
    assertEquals(host.built.get(1), machine);
    assertEquals(machine.writes(), machine.newestWrite(), "memory and state are of one instant");
    machine.close();
  }

  @Test
  void shouldGiveUpAPrimaryThatFallsSilent() throws Exception {
    standby = startStandby(at("tcp"), EpochConfig.of(2_000_000L, 100_000_000L), host);
    GuestMemory memory = GuestMemory.builder().block("ram", 8 << 20).build(64 << 10);
    Offer offer = new Offer(Role.PRIMARY, Channel.MEMORY, 1, 8 << 20, 8 << 20, MemoryFrame.digest(memory));
    MachineEnvelope envelope = new MachineEnvelope("fake", generationFile().toString(), 100_000_000L, new byte[0]);
    try (PeerCaller caller = new PeerCaller(null, Duration.ofSeconds(20));
        ReplicationLink link = caller.call(standbyNode().address(), offer, new LinkMaker(LinkConfig.standard())::sendingEnd);
        LastSent lastSent = new LastSent(4 << 20);
        EpochWriter writer = new EpochWriter(link, lastSent, 1, 256 << 10, new Deaf())) {
      writer.begin(1, true);
      assertTrue(writer.sendMachine(1, envelope.encode()) && writer.sendMemory(memory));
      await("the description arrives", () -> writer.poll() >= 0 && host.begun.tryAcquire());

      await("the standby gives up", () -> why(standbyNode().report()).contains("nothing came for 1000 ms"));
      await("and the link ends", () -> writer.poll() >= 0 && !link.isUp());
    }
    host.allowed.release();
    await("the machine is discarded", () -> host.built.size() == 1 && host.built.getFirst().isClosed());
  }

  @Test
  void shouldGiveUpAStandbyThatFallsSilent() throws Exception {
    CompletableFuture<ReplicaLink> deaf = new CompletableFuture<>();
    LinkMaker links = new LinkMaker(LinkConfig.standard());
    try (PeerListener frozen = new PeerListener(at("tcp"), Role.STANDBY, 8 << 20, null, Duration.ofSeconds(20), offer -> {}, session -> deaf.complete(receivingEnd(links, session)))) {
      startPrimary(frozen.address(), EpochConfig.of(2_000_000L, 100_000_000L), 20_000, 0);
      try (ReplicaLink link = deaf.get(20, TimeUnit.SECONDS)) {
        await("the primary says so", () -> why(node().report()).contains("the standby's machine did not get ready: nothing came for 1000 ms"));
        assertEquals(PrimaryState.ALONE, node().state());
        await("and the link ends", () -> link.poll() >= 0 && !link.isUp());
      }
    }
  }

  private static ReplicaLink receivingEnd(LinkMaker links, Session session) {
    try {
      return links.receivingEnd(session);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void shouldWaitForAPrimaryThatLivesAsLongAsTheMachineTakes() throws Exception {
    EpochConfig epochs = EpochConfig.of(2_000_000L, 400_000_000L);
    startWithSlowStandby(epochs);

    Thread.sleep(5_000); // more than ten bounds, after which a silent one is given up
    host.allowed.release();
    await("the machine is taken", () -> host.built.size() == 1);
    await("protected", () -> node().state() == PrimaryState.PROTECTED);
    assertFalse(host.built.getFirst().isClosed());
  }

  @Test
  void shouldRunOnUnprotectedAndSaySoWhenTheStandbyDies() throws Exception {
    startWithSlowStandby(EPOCHS);
    assertTrue(why(node().report()).contains("the standby builds its machine"), node().report().toString());

    standbyNode().kill();
    await("the primary says so", () -> why(node().report()).contains("the standby's machine did not get ready"));
    assertEquals(PrimaryState.ALONE, node().state());
    assertEquals(false, node().report().get("protected"));
    host.allowed.release();
    await("the machine is discarded", () -> host.built.size() == 1 && host.built.getFirst().isClosed());

    standbyNode().close();
    standby = startStandby(standbyNode().address(), EPOCHS);
    await("protected by the next standby", () -> node().state() == PrimaryState.PROTECTED);
  }

  private void startWithSlowStandby(EpochConfig epochs) throws InterruptedException {
    standby = startStandby(at("tcp"), epochs, host);
    startPrimary(standbyNode().address(), epochs, 20_000, 0);
    host.begun.acquire();
  }

  private static String why(java.util.Map<String, Object> report) {
    return String.valueOf(report.get("why"));
  }

  private static final class Deaf implements EpochWriter.Listener {
    @Override
    public void ready() {}

    @Override
    public void acknowledged(long epoch, long sentNanos) {}

    @Override
    public void echoed(long sentNanos) {}

    @Override
    public void bye(int reasonCode) {}

    @Override
    public void refused(int reasonCode, long found, long needed) {}

    @Override
    public void malformed(Reason reason) {}
  }
}
