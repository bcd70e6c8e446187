package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.DropReason;
import dev.dyad.engine.epoch.Goodbye;
import dev.dyad.engine.epoch.LinkEnd;
import dev.dyad.engine.epoch.StandbyActions;
import dev.dyad.engine.epoch.StandbyProtocol;
import dev.dyad.engine.epoch.StandbyState;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/** The process that holds the replica: carries out what {@link StandbyProtocol} says. */
final class StandbyNode extends Host.Process implements StandbyActions, SimLink.End {
  private final World world;
  private final Host host;
  private final SplittableRandom random;
  private final StandbyProtocol protocol;

  private long[] replica = new long[0];
  private long replicaHash;
  private final Map<Long, List<Frame>> whole = new HashMap<>();
  private List<Frame> partial = new ArrayList<>();
  private long partialEpoch;
  private int partialFrames;
  private long partialSum;
  private long heldGeneration;
  private long baselineEpoch;
  private boolean applying;
  private boolean dropWanted;

  private @Nullable SimLink link;
  private @Nullable SimLink offered;
  private int received;

  StandbyNode(World world, Host host) {
    this.world = world;
    this.host = host;
    random = world.random();
    protocol = new StandbyProtocol(world.mutation().standbyConfig(world.config()), world.mutation().standby(this));
  }

  StandbyProtocol protocol() {
    return protocol;
  }

  /** Generation under which the replica was received. */
  long heldGeneration() {
    return heldGeneration;
  }

  // ---- the link's side

  @Override
  public void frameArrives(SimLink from, byte[] bytes, boolean tampered) {
    host.run(this, () -> {
      receive(from, bytes);
      if (tampered && from == link) {
        throw new RuleBroken(Rule.NO_SILENT_LOSS, "the standby took a damaged frame and went on");
      }
    });
  }

  private void receive(SimLink from, byte[] bytes) {
    Frame frame = Frame.decode(bytes, world.mutation().checksCrc());
    if (from != link) {
      if (frame == null || frame.type() != Frame.Type.HELLO || from.number(host.index()) != 0) {
        from.close(host.index());
        return;
      }
      from.number(host.index(), host.nextLink());
      offered = from;
      protocol.onConnected(from.number(host.index()), frame.generation(), frame.epoch(), host.clock());
      received = link == from ? 1 : received;
      return;
    }
    if (frame == null || (world.strictFraming() && frame.sequence() != received++)) {
      ended(from, LinkEnd.CORRUPT);
      return;
    }
    long number = from.number(host.index());
    long now = host.clock();
    switch (frame.type()) {
      case PAGES -> {
        if (takePages(frame)) {
          protocol.onHeard(number, now);
        } else {
          ended(from, LinkEnd.CORRUPT);
        }
      }
      case SEAL -> takeSeal(from, frame, number, now);
      case HEARTBEAT -> protocol.onStamp(number, frame.generation(), frame.stamp(), now);
      case GOODBYE -> protocol.onGoodbye(number, frame.flag() ? Goodbye.HANDOVER : Goodbye.DETACH, frame.epoch(), now);
      case HELLO, REPORT -> ended(from, LinkEnd.UNEXPECTED);
    }
  }

  private boolean takePages(Frame frame) {
    if (partialFrames == 0) {
      partialEpoch = frame.epoch();
    }
    if (frame.epoch() != partialEpoch || frame.generation() != heldGeneration) {
      return false;
    }
    for (int page : frame.pages()) {
      if (page < 0 || page >= world.pages()) {
        return false;
      }
    }
    partialFrames++;
    partialSum = Frame.addToSum(partialSum, frame, Frame.bodyCrc(frame));
    if (frame.epoch() == baselineEpoch && protocol.state() == StandbyState.RECEIVING) {
      write(frame);
    } else {
      partial.add(frame);
    }
    return true;
  }

  private void takeSeal(SimLink from, Frame seal, long number, long now) {
    boolean addsUp = seal.count() == partialFrames && seal.sum() == partialSum && (partialFrames == 0 || partialEpoch == seal.epoch());
    if (!addsUp && world.mutation().checksEpochSum()) {
      ended(from, LinkEnd.CORRUPT);
      return;
    }
    if (seal.generation() == heldGeneration) {
      world.rules().whole(heldGeneration, seal.epoch(), partialSum);
    }
    whole.putIfAbsent(seal.epoch(), partial);
    startEpoch();
    protocol.onEpochWhole(number, seal.generation(), seal.epoch(), seal.stamp(), now);
  }

  private void startEpoch() {
    partial = new ArrayList<>();
    partialFrames = 0;
    partialSum = 0;
  }

  @Override
  public void closeArrives(SimLink from) {
    host.run(this, () -> ended(from, LinkEnd.CLOSED));
  }

  private void ended(SimLink which, LinkEnd reason) {
    which.close(host.index());
    if (which == link) {
      link = null;
      protocol.onLinkLost(which.number(host.index()), reason, host.clock());
    }
  }

  private @Nullable SimLink byNumber(long number) {
    SimLink current = link;
    if (current != null && current.number(host.index()) == number) {
      return current;
    }
    SimLink offer = offered;
    return offer != null && offer.number(host.index()) == number ? offer : null;
  }

  private void write(Frame frame) {
    for (int i = 0; i < frame.pages().length; i++) {
      int page = frame.pages()[i];
      long value = frame.flag() ? replica[page] ^ frame.values()[i] : frame.values()[i];
      replicaHash += SimGuest.mix(page, value) - SimGuest.mix(page, replica[page]);
      replica[page] = value;
    }
  }

  // ---- actions

  @Override
  public void acceptBaseline(long ofLink, long generation, long epoch) {
    host.action();
    link = byNumber(ofLink);
    heldGeneration = generation;
    baselineEpoch = epoch;
    replica = new long[world.pages()];
    replicaHash = SimGuest.hash(replica);
    whole.clear();
    startEpoch();
  }

  @Override
  public void report(long ofLink, long generation, long wholeEpoch, long echoedSendNanos) {
    host.action();
    SimLink to = byNumber(ofLink);
    if (to == null) {
      throw new AssertionError("the protocol reports on link " + ofLink + ", which is not in use");
    }
    if (protocol.state() == StandbyState.ARBITRATING) {
      throw new RuleBroken(Rule.ONE_RUNNER, "an acknowledgement after the standby has asked for promotion");
    }
    to.send(host.index(), Frame.of(Frame.Type.REPORT, false, 0, generation, wholeEpoch, echoedSendNanos, 0));
  }

  @Override
  public void apply(long epoch) {
    host.action();
    applying = true;
    world.after(world.applyNanos(), () -> host.run(this, () -> {
      applying = false;
      List<Frame> records = whole.remove(epoch);
      if (records == null) {
        throw new RuleBroken(Rule.EXACT_RESUME, "epoch " + epoch + " is applied and not there");
      }
      if (world.mutation().applies(epoch)) {
        records.forEach(this::write);
      }
      world.rules().applied(heldGeneration, epoch, replicaHash);
      protocol.onApplied(epoch, host.clock());
      if (dropWanted) {
        dropLater();
      }
    }));
  }

  @Override
  public void discardAfter(long wholeEpoch) {
    host.action();
    whole.keySet().removeIf(epoch -> epoch > wholeEpoch);
    if (!world.mutation().promotesTornEpoch()) {
      startEpoch();
    }
  }

  @Override
  public void requestGeneration(long generation) {
    host.action();
    world.trace(() -> this + " asks for generation " + generation);
    world.rules().standbyAsks(this);
    world.arbiter().request(generation, host.index(), verdict -> host.run(this, () -> {
      switch (verdict) {
        case GRANTED -> protocol.onGranted(generation, host.clock());
        case DENIED -> protocol.onDenied(generation, host.clock());
        case UNREACHABLE -> protocol.onArbiterUnreachable(generation, host.clock());
      }
    }));
  }

  @Override
  public void promote(long generation, long epoch) {
    host.action();
    world.trace(() -> this + " is promoted at epoch " + epoch);
    if (world.mutation().promotesTornEpoch()) {
      partial.forEach(this::write);
    }
    world.rules().promoted(host.index(), heldGeneration, generation, epoch, replica);
    world.promoted(host, generation, epoch, replica);
  }

  @Override
  public void dropReplica(DropReason reason) {
    host.action();
    world.trace(() -> this + " drops its replica: " + reason);
    if (applying) {
      dropWanted = true;
    } else {
      dropLater();
    }
    world.checkGuest();
  }

  private void dropLater() {
    dropWanted = false;
    world.after(50_000 + random.nextInt(200_000), () -> host.run(this, () -> {
      replica = new long[0];
      whole.clear();
      startEpoch();
      protocol.onReplicaDropped(host.clock());
    }));
  }

  @Override
  public void sayGoodbye(long ofLink) {
    host.action();
    SimLink to = byNumber(ofLink);
    if (to != null) {
      to.send(host.index(), Frame.of(Frame.Type.GOODBYE, false, 0, protocol.generation(), 0, 0, 0));
    }
  }

  @Override
  public void endLink(long ofLink, LinkEnd reason) {
    host.action();
    world.trace(() -> this + " ends link " + ofLink + ": " + reason);
    SimLink which = byNumber(ofLink);
    if (which != null) {
      which.close(host.index());
      link = which == link ? null : link;
    }
  }

  @Override
  public void ready(long epoch) {
    host.action();
    world.trace(() -> this + " is ready from " + epoch);
  }

  @Override
  public void stopped() {
    host.action();
    world.stopped(host);
  }

  // ---- the process

  @Override
  void tick() {
    protocol.onTick(host.clock());
  }

  @Override
  long sleepNanos() {
    return protocol.nanosUntilTick(host.clock());
  }

  @Override
  void died(boolean hostToo) {
    SimLink current = link;
    if (current != null) {
      current.die(host.index(), hostToo);
    }
  }

  @Override
  String status() {
    return "standby " + protocol.state() + " generation " + protocol.generation() + " whole " + protocol.wholeEpoch() + " applied "
        + protocol.appliedEpoch();
  }

  @Override
  public String toString() {
    return "host " + host.index() + " standby(" + protocol.state() + ", g" + protocol.generation() + ", whole " + protocol.wholeEpoch() + ")";
  }
}
