package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.FenceReason;
import dev.dyad.engine.epoch.Goodbye;
import dev.dyad.engine.epoch.LinkEnd;
import dev.dyad.engine.epoch.PrimaryActions;
import dev.dyad.engine.epoch.PrimaryProtocol;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.Unprotected;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/** The process beside a running guest: carries out what {@link PrimaryProtocol} says. */
final class PrimaryNode extends Host.Process implements PrimaryActions, SimLink.End {
  private record Held(long epoch, Packet packet) {}

  private static final int FRAME_PAGES = 24;
  private static final long NEVER = Long.MAX_VALUE;

  private final World world;
  private final Host host;
  private final SplittableRandom random;
  private final PrimaryProtocol protocol;
  private final SimGuest guest;

  private final ArrayDeque<Held> held = new ArrayDeque<>();
  private final ArrayDeque<Packet> unread = new ArrayDeque<>();
  private long holdFrom;
  private long openEpoch;
  private long heldBefore;
  private boolean vcpusStopped;
  private boolean guestFrozen;
  private boolean fenced;

  private @Nullable SimLink pending;
  private @Nullable SimLink link;
  private int received;
  private long baselineEpoch;
  private int baselineNext;
  private int baselineRounds;
  private int epochFrames;
  private long epochSum;
  private final List<Frame> outgoing = new ArrayList<>();
  private final long[] sent;

  /**
   * @param passing whether the guest's output leaves until the protocol says something else
   */
  PrimaryNode(World world, Host host, SimGuest guest, long openEpoch, boolean passing) {
    this.world = world;
    this.host = host;
    this.guest = guest;
    this.openEpoch = openEpoch;
    random = world.random();
    holdFrom = passing ? NEVER : 0;
    sent = new long[guest.pageCount()];
    protocol = new PrimaryProtocol(world.mutation().primaryConfig(world.config()), world.mutation().primary(this));
    guest.connect(this::output);
  }

  /** The last generation that was held here; also before the first event has reached the protocol. */
  long generation() {
    return Math.max(heldBefore, protocol.generation());
  }

  void begin(long generation) {
    heldBefore = generation - 1;
    host.run(this, () -> {
      protocol.onStart(generation, openEpoch, host.clock());
      runOrStopGuest();
    });
  }

  void beginPromoted(long generation) {
    heldBefore = generation;
    host.run(this, () -> {
      protocol.onPromoted(generation, openEpoch, host.clock());
      runOrStopGuest();
    });
  }

  PrimaryProtocol protocol() {
    return protocol;
  }

  Host host() {
    return host;
  }

  SimGuest guest() {
    return guest;
  }

  boolean isFenced() {
    return fenced;
  }

  boolean passes() {
    return !fenced && holdFrom == NEVER;
  }

  long openEpochNumber() {
    return openEpoch;
  }

  // ---- the guest's side

  private void output(Packet packet) {
    if (fenced || isDead()) {
      return;
    }
    if (host.isFrozen()) {
      unread.add(packet);
    } else if (openEpoch < holdFrom) {
      leave(packet, openEpoch);
    } else {
      held.add(new Held(openEpoch, packet));
      host.run(this, () -> {
        if (random.nextInt(64) == 0) {
          protocol.onEpochFull(host.clock());
        } else {
          protocol.onOutputWaiting(host.clock());
        }
      });
    }
  }

  private void leave(Packet packet, long epoch) {
    world.rules().packetLeaves(this, epoch);
    world.sendToClient(packet);
  }

  private void runOrStopGuest() {
    boolean runs = !vcpusStopped && !guestFrozen && !fenced;
    if (runs && !guest.isRunning()) {
      guest.resume();
    } else if (!runs) {
      guest.pause();
    }
  }

  @Override
  void frozen(boolean guestToo) {
    guestFrozen = guestToo;
    runOrStopGuest();
  }

  @Override
  void thawed() {
    for (Packet packet = unread.poll(); packet != null; packet = unread.poll()) {
      output(packet);
    }
    guestFrozen = false;
    if (!host.isBusy()) {
      runOrStopGuest();
    }
  }

  // ---- the link's side

  /** Tries to find a standby, as long as one is needed. */
  void seekStandby() {
    if (protocol.state() == PrimaryState.ALONE && pending == null && link == null && !host.isBusy()) {
      SimLink offer = world.connect(this);
      pending = offer;
      received = 0;
      send(offer, Frame.of(Frame.Type.HELLO, false, 0, protocol.generation(), protocol.openEpoch(), 0, 0));
      world.after(2 * world.config().detectorNanos(), () -> host.run(this, () -> {
        if (pending == offer) {
          pending = null;
          offer.close(host.index());
        }
      }));
    }
  }

  @Override
  public void frameArrives(SimLink from, byte[] bytes, boolean tampered) {
    host.run(this, () -> {
      if (from == pending || from == link) {
        receive(from, bytes);
        if (tampered && from == link) {
          throw new RuleBroken(Rule.NO_SILENT_LOSS, "the primary took a damaged frame and went on");
        }
      }
    });
  }

  private void receive(SimLink from, byte[] bytes) {
    Frame frame = Frame.decode(bytes, world.mutation().checksCrc());
    if (frame == null || (world.strictFraming() && frame.sequence() != received++)) {
      ended(from, LinkEnd.CORRUPT);
      return;
    }
    if (from == pending) {
      pending = null;
      from.number(host.index(), host.nextLink());
      link = from;
      protocol.onStandbyConnected(from.number(host.index()), host.clock());
    }
    if (link != from) {
      return;
    }
    long number = from.number(host.index());
    long now = host.clock();
    protocol.onHeard(number, now);
    switch (frame.type()) {
      case REPORT -> {
        long echo = frame.stamp() == PrimaryProtocol.NO_STAMP ? frame.stamp() : world.mutation().echo(frame.stamp(), now);
        protocol.onAck(number, frame.generation(), world.mutation().acknowledged(frame.epoch(), protocol.sealedEpoch()), echo, now);
      }
      case GOODBYE -> protocol.onGoodbye(number, now);
      default -> ended(from, LinkEnd.UNEXPECTED);
    }
  }

  @Override
  public void closeArrives(SimLink from) {
    host.run(this, () -> ended(from, LinkEnd.CLOSED));
  }

  private void ended(SimLink which, LinkEnd reason) {
    which.close(host.index());
    if (which == pending) {
      pending = null;
    } else if (which == link) {
      link = null;
      protocol.onLinkLost(which.number(host.index()), reason, host.clock());
    }
  }

  private void send(SimLink to, Frame frame) {
    to.send(host.index(), frame);
  }

  private SimLink link(long number) {
    SimLink current = link;
    if (current == null || current.number(host.index()) != number) {
      throw new AssertionError("the protocol names link " + number + ", which is not in use");
    }
    return current;
  }

  // ---- shipping

  private void putPages(long epoch, int[] pages, int count) {
    boolean delta = epoch > baselineEpoch && random.nextBoolean();
    long[] values = new long[count];
    for (int i = 0; i < count; i++) {
      long now = guest.page(pages[i]);
      values[i] = delta ? now ^ sent[pages[i]] : now;
      sent[pages[i]] = now;
      guest.dirty()[pages[i]] = false;
    }
    Frame frame = Frame.pages(protocol.generation(), epoch, delta, Arrays.copyOf(pages, count), values);
    epochFrames++;
    epochSum = Frame.addToSum(epochSum, frame, Frame.bodyCrc(frame));
    outgoing.add(frame);
  }

  /** Puts everything dirty into frames of {@code epoch}; as the copy in the pause does. */
  private void collectDirty(long epoch) {
    boolean[] dirty = guest.dirty();
    int[] pages = new int[FRAME_PAGES];
    int count = 0;
    for (int i = 0; i < dirty.length; i++) {
      if (dirty[i]) {
        pages[count++] = i;
        if (count == FRAME_PAGES) {
          putPages(epoch, pages, count);
          count = 0;
        }
      }
    }
    if (count > 0) {
      putPages(epoch, pages, count);
    }
  }

  private void sendOutgoing(SimLink to) {
    for (Frame frame : outgoing) {
      send(to, frame);
    }
    outgoing.clear();
  }

  private void baselineStep(SimLink of) {
    if (link != of || protocol.state() != PrimaryState.SYNCING) {
      return;
    }
    if (baselineNext < guest.pageCount()) {
      int[] pages = new int[FRAME_PAGES];
      int count = 0;
      while (count < FRAME_PAGES && baselineNext < guest.pageCount()) {
        pages[count++] = baselineNext++;
      }
      putPages(baselineEpoch, pages, count);
    } else if (++baselineRounds < 3) {
      collectDirty(baselineEpoch);
    } else {
      protocol.onBaselineLevel(of.number(host.index()), host.clock());
      return;
    }
    sendOutgoing(of);
    world.after(20_000 + random.nextInt(40_000), () -> host.run(this, () -> baselineStep(of)));
  }

  // ---- actions

  @Override
  public void requestGeneration(long generation) {
    host.action();
    world.arbiter().request(generation, host.index(), verdict -> host.run(this, () -> {
      switch (world.mutation().verdict(verdict)) {
        case GRANTED -> protocol.onGranted(generation, host.clock());
        case DENIED -> protocol.onDenied(generation, host.clock());
        case UNREACHABLE -> protocol.onArbiterUnreachable(generation, host.clock());
      }
    }));
  }

  @Override
  public void passOutput() {
    host.action();
    holdFrom = NEVER;
    releaseUpTo(NEVER);
  }

  @Override
  public void holdOutputFrom(long epoch) {
    host.action();
    holdFrom = epoch;
  }

  @Override
  public void release(long epoch) {
    host.action();
    releaseUpTo(epoch);
  }

  private void releaseUpTo(long epoch) {
    for (Held next = held.peek(); next != null && next.epoch <= epoch; next = held.peek()) {
      held.poll();
      leave(next.packet, next.epoch);
    }
  }

  @Override
  public void startBaseline(long ofLink, long epoch) {
    host.action();
    SimLink of = link(ofLink);
    baselineEpoch = epoch;
    baselineNext = 0;
    baselineRounds = 0;
    epochFrames = 0;
    epochSum = 0;
    outgoing.clear();
    Arrays.fill(guest.dirty(), true);
    world.baselineStarts();
    world.after(10_000, () -> host.run(this, () -> baselineStep(of)));
  }

  @Override
  public void seal(long epoch, boolean resume) {
    host.action();
    if (protocol.state() != PrimaryState.PROTECTED) {
      world.trace(() -> this + " seals " + epoch);
    }
    if (epoch != openEpoch) {
      throw new AssertionError("the protocol seals " + epoch + " while " + openEpoch + " is open");
    }
    vcpusStopped = true;
    runOrStopGuest();
    host.startWork();
    world.after(10_000 + random.nextInt(60_000), () -> host.done(this, () -> sealed(epoch, resume)));
  }

  private void sealed(long epoch, boolean resume) {
    world.rules().sealed(protocol.generation(), epoch, guest.hash());
    SimLink of = link;
    if (of != null) {
      collectDirty(epoch);
    }
    openEpoch = epoch + 1;
    vcpusStopped = !resume;
    runOrStopGuest();
    protocol.onSealed(epoch, host.clock());
  }

  @Override
  public void ship(long ofLink, long epoch, long sendNanos) {
    host.action();
    SimLink of = link(ofLink);
    sendOutgoing(of);
    world.rules().shipped(protocol.generation(), epoch, epochSum, epoch == baselineEpoch);
    send(of, Frame.of(Frame.Type.SEAL, false, epochFrames, protocol.generation(), epoch, sendNanos, epochSum));
    epochFrames = 0;
    epochSum = 0;
  }

  @Override
  public void heartbeat(long ofLink, long sendNanos) {
    host.action();
    send(link(ofLink), Frame.of(Frame.Type.HEARTBEAT, false, 0, protocol.generation(), 0, sendNanos, 0));
  }

  @Override
  public void sayGoodbye(long ofLink, Goodbye goodbye, long epoch) {
    host.action();
    send(link(ofLink), Frame.of(Frame.Type.GOODBYE, goodbye == Goodbye.HANDOVER, 0, protocol.generation(), epoch, 0, 0));
  }

  @Override
  public void endLink(long ofLink, LinkEnd reason) {
    host.action();
    world.trace(() -> this + " ends link " + ofLink + ": " + reason);
    link(ofLink).close(host.index());
    link = null;
  }

  @Override
  public void pauseGuest() {
    host.action();
    vcpusStopped = true;
    runOrStopGuest();
  }

  @Override
  public void resumeGuest() {
    host.action();
    vcpusStopped = false;
    runOrStopGuest();
  }

  @Override
  public void fence(FenceReason reason) {
    host.action();
    world.trace(() -> this + " is fenced: " + reason);
    fenced = true;
    held.clear();
    unread.clear();
    runOrStopGuest();
    world.fenced(this);
  }

  @Override
  public void detached() {
    host.action();
    world.detached(this);
  }

  @Override
  public void protectedFrom(long epoch) {
    host.action();
    world.trace(() -> this + " is protected from " + epoch);
  }

  @Override
  public void unprotected(Unprotected reason) {
    host.action();
    world.trace(() -> this + " is unprotected: " + reason);
  }

  // ---- the process

  @Override
  void tick() {
    SimLink of = link;
    if (of != null && protocol.state().holdsPerEpoch() && random.nextInt(4) == 0) {
      // Ahead of the seal, as the speculative scan does; what is written again comes again.
      collectDirty(openEpoch);
      sendOutgoing(of);
    }
    protocol.onTick(host.clock());
  }

  @Override
  long sleepNanos() {
    return protocol.nanosUntilTick(host.clock());
  }

  @Override
  void died(boolean hostToo) {
    guest.pause();
    SimLink current = link;
    if (current != null) {
      current.die(host.index(), hostToo);
    }
    SimLink offered = pending;
    if (offered != null) {
      offered.die(host.index(), hostToo);
    }
  }

  @Override
  String status() {
    return "primary " + protocol.state() + " generation " + protocol.generation() + " open " + protocol.openEpoch() + " acked "
        + protocol.ackedEpoch() + " released " + protocol.releasedEpoch() + " held packets " + held.size();
  }

  @Override
  public String toString() {
    return "host " + host.index() + " primary(" + protocol.state() + ", g" + protocol.generation() + ")";
  }
}
