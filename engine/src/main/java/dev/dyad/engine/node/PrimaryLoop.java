package dev.dyad.engine.node;

import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.POLLOUT;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.engine.epoch.FenceReason;
import dev.dyad.engine.epoch.Goodbye;
import dev.dyad.engine.epoch.LinkEnd;
import dev.dyad.engine.epoch.PrimaryActions;
import dev.dyad.engine.epoch.PrimaryProtocol;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.Unprotected;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.memory.EpochWriter;
import dev.dyad.engine.memory.LastSent;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.observe.EpochTrace;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.Hypervisor;
import dev.dyad.engine.wire.Reason;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import org.jspecify.annotations.Nullable;

/**
 * The primary's one loop: drives the protocol, cuts and encodes epochs, moves the link, releases what is committed.
 *
 * <p>Thread: epoch. One thread does all of it, since a reply's way (pause, ship, acknowledgement, release) then has no hand-over
 * between threads; see docs/decisions/one-loop.md. Owns protocol, hypervisor and link while it runs. Others only {@link #post}, and the net thread
 * rings {@link #doorbell} when output waits. In steady state it allocates nothing. Its one clock is CLOCK_BOOTTIME: stamps, lease and protocol must not stand still
 * while the host is suspended.
 */
final class PrimaryLoop implements PrimaryActions, EpochWriter.Listener, EpochCutter.Overflow, Runnable {
  /** What the loop needs done by threads that may block; both answer with {@link #post}. */
  interface Control {
    /** Ask the arbiter, then post onGranted, onDenied or onArbiterUnreachable. */
    void requestGeneration(long generation);

    /** There is no standby any more (or none yet): look for one, then post {@link #offer}. */
    void findStandby();
  }

  private static final Logger LOG = System.getLogger("dyad.primary");
  private static final int PAGES_PAYLOAD_BYTES = 256 << 10;
  private static final int COMMITS_MAX = 64;

  /** A guest that does not stop for so many times the detector's bound has failed as much as a host that is silent. */
  private static final int SLOW_STOP_DETECTORS = 10;

  /**
   * A standby that answers no heartbeat for so many times the detector's bound while it builds its machine is gone. Heartbeats are counted, so that a time in
   * which this loop stood still is not held against it.
   */
  private static final int BUILDING_DETECTORS = 10;

  /** One that answers, and still has no machine. */
  private static final long READY_BOUND_NANOS = 60_000_000_000L;

  private enum Shipping {
    IDLE,
    RAM,
    STATE,
    SEAL
  }

  private final PrimaryConfig config;
  private final long signsUnansweredMax;
  private final Hypervisor hypervisor;
  private final GuestOutput output;
  private final NodePage nodePage;
  private final @Nullable PrimaryDisk disk;
  private final Control control;
  private final EpochMetrics metrics;
  private final EpochTrace trace;
  private final PrimaryProtocol protocol;
  private final EpochCutter cutter;
  private final EarlyPages early;
  private final LastSent lastSent;
  private final Mailbox posted = new Mailbox();
  private final EventFd doorbell = new EventFd();
  private final Poll waits;
  private final Idle idle;
  private final Runnable sealed = this::sealOutput;

  // the link in use, or the one whose standby is still building its machine
  private long linkNumber;
  private @Nullable ReplicationLink link;
  private @Nullable EpochWriter writer;
  private @Nullable BaselineSender baseline;
  private boolean linkReady;
  private long offeredNanos;
  private long signNanos;
  private long signsUnanswered;
  private boolean linkBroken;
  private String linkProblem = "";

  // asked for by the protocol, to be done as soon as its event has returned
  private long sealWanted;
  private boolean holdFromSeal;
  private boolean endWanted;

  private Shipping shipping = Shipping.IDLE;
  private long shippingEpoch;
  private long bytesBefore;
  private boolean heartbeatDue;
  private long cutNanos;
  private final long[] sealedNanos = new long[COMMITS_MAX];

  /** Set by any thread, taken back by the loop. */
  private volatile boolean endAsked;

  private boolean finished;
  private boolean stopAsked;

  // Published for the control thread's report.
  private volatile PrimaryState state = PrimaryState.NEW;
  private volatile long generation;
  private volatile long openEpoch;
  private volatile String why = "";
  private volatile @Nullable Throwable failure;

  PrimaryLoop(
      PrimaryConfig config,
      Hypervisor hypervisor,
      GuestOutput output,
      NodePage nodePage,
      @Nullable PrimaryDisk disk,
      EpochMetrics metrics,
      EpochTrace trace,
      Control control) {
    this.config = config;
    signsUnansweredMax = BUILDING_DETECTORS * config.epochs().detectorNanos() / config.epochs().heartbeatNanos();
    this.disk = disk;
    this.hypervisor = hypervisor;
    this.output = output;
    this.nodePage = nodePage;
    this.metrics = metrics;
    this.trace = trace;
    this.control = control;
    protocol = new PrimaryProtocol(config.epochs(), this);
    cutter = new EpochCutter(hypervisor, config.snapshotPages());
    early = new EarlyPages(hypervisor, config.earlyNanos());
    lastSent = new LastSent(config.deltaCacheBytes());
    waits = new Poll(2);
    idle = new Idle(config.busyPoll(), config.link().spinNanos());
    if (disk != null) {
      disk.onNews(this::doorbell);
    }
    hypervisor.whileWaiting(this::signOfLife, config.epochs().heartbeatNanos());
  }

  /**
   * A guest that is slow to stop (a starved QEMU) keeps this thread; the standby must not take that for the death of this host, unless it lasts. A heartbeat
   * promises nothing but that this loop lives.
   */
  private void signOfLife() {
    EpochWriter present = writer;
    long now = Clocks.bootNs();
    if (present != null && linkReady && !linkBroken && now - cutNanos < SLOW_STOP_DETECTORS * config.epochs().detectorNanos()) {
      present.heartbeat(now);
    }
  }

  /** Has {@code task} run on the loop's thread soon, unless the loop ends. Any thread. */
  void post(Runnable task) {
    post(task, () -> {});
  }

  private void post(Runnable task, Runnable unlessDone) {
    if (posted.post(task, unlessDone)) {
      doorbell.signal();
    }
  }

  /** Events from outside, to be posted: {@code post(() -> loop.event(p -> p.onGranted(…)))}. */
  void event(java.util.function.ObjLongConsumer<PrimaryProtocol> event) {
    event.accept(protocol, Clocks.bootNs());
    carryOut();
  }

  /** A freshly connected standby; it is attached as soon as it says that its machine is ready. The link is closed when it is not needed. Any thread. */
  void offer(ReplicationLink offered, int machineKind, byte[] machineDescription) {
    post(() -> take(offered, machineKind, machineDescription), offered::close);
  }

  private void take(ReplicationLink offered, int machineKind, byte[] machineDescription) {
    if (link != null || finished) {
      offered.close();
      return;
    }
    EpochWriter fresh = new EpochWriter(offered, lastSent, protocol.generation(), PAGES_PAYLOAD_BYTES, this);
    link = offered;
    writer = fresh;
    linkReady = false;
    linkBroken = false;
    offeredNanos = Clocks.bootNs();
    signNanos = offeredNanos;
    signsUnanswered = 0;
    why = "the standby builds its machine";
    fresh.begin(protocol.openEpoch(), true);
    if (!fresh.sendMachine(machineKind, machineDescription) || !fresh.sendMemory(hypervisor.memory())) {
      dropLink("the machine's description does not fit the link's ring");
    }
  }

  /** Ends protection; the guest stays. To be posted. */
  void detach() {
    stopAsked = true;
    event(PrimaryProtocol::onDetach);
  }

  /** Has the loop look around soon; allocates nothing. Any thread. */
  void doorbell() {
    doorbell.signal();
  }

  /** The open epoch should end as soon as it may: the dirty ring is full. Allocates nothing. Any thread. */
  void endEpoch() {
    endAsked = true;
    doorbell.signal();
  }

  /** Ends the loop at once; nothing more leaves. To be posted. */
  void die() {
    finished = true;
  }

  @Override
  public void run() {
    try {
      while (!finished) {
        int work = posted.serve() + serveLink() + stepBaseline() + stepEarly();
        long now = Clocks.bootNs();
        protocol.onTick(now);
        carryOut();
        if (output.outputWaits()) {
          protocol.onOutputWaiting(now);
          carryOut();
        }
        if (output.isPressed() || (disk != null && disk.wantsSeal())) {
          protocol.onEpochFull(now);
          carryOut();
        }
        if (endAsked) {
          endAsked = false;
          metrics.ringFull();
          if (protocol.state().holdsPerEpoch()) {
            protocol.onEpochFull(now);
            carryOut();
          }
        }
        closeEnded();
        work += stepShipping(); // after the cuts: what was just cut is on its way before this loop waits
        publish();
        if (work != 0) {
          idle.worked();
        } else if (!finished && !idle.spins(Clocks.bootNs())) {
          await();
        }
      }
    } catch (RuntimeException e) {
      failure = e;
    } finally {
      posted.end();
      // Whatever ended the loop: what was not committed must not leave.
      if (state != PrimaryState.STOPPED) {
        output.gate().fence();
      }
      closeLink();
      publish();
    }
  }

  void closeAll() {
    posted.end(); // also when the loop was never started
    cutter.close();
    early.close();
    lastSent.close();
    waits.close();
    doorbell.close();
  }

  // ---- stages

  private int serveLink() {
    EpochWriter present = writer;
    ReplicationLink presentLink = link;
    if (present == null || presentLink == null) {
      return 0;
    }
    int work = present.poll();
    if (endWanted) {
      closeEnded();
      return work;
    }
    if (!linkReady && Clocks.bootNs() - offeredNanos > READY_BOUND_NANOS) {
      linkBroken = true;
      linkProblem = "the standby did not get its machine ready within " + READY_BOUND_NANOS / 1_000_000_000L + " s";
    }
    if (!linkReady && signsUnanswered > signsUnansweredMax) {
      linkBroken = true;
      linkProblem = "nothing came for " + signsUnansweredMax * config.epochs().heartbeatNanos() / 1_000_000 + " ms";
    }
    if (!linkBroken && !presentLink.isUp()) {
      linkBroken = true;
      linkProblem = presentLink.failure();
    }
    if (!linkBroken && disk != null && !disk.isMirroring()) {
      linkBroken = true; // an epoch whose disk writes do not arrive there is never whole
      linkProblem = disk.reason();
    }
    if (linkBroken) {
      dropLink(linkProblem);
      return 1;
    }
    if (heartbeatDue) {
      heartbeatDue = !present.heartbeat(Clocks.bootNs());
    }
    if (!linkReady && nanosUntilSign() <= 0) {
      signNanos = Clocks.bootNs();
      signsUnanswered++;
      var _ = present.heartbeat(signNanos); // one that finds no room says nothing that the full ring does not
    }
    return work;
  }

  /** The protocol's heartbeats begin when the standby's machine is ready; until then it must know that it still builds for somebody. */
  private long nanosUntilSign() {
    return signNanos + config.epochs().heartbeatNanos() - Clocks.bootNs();
  }

  private int stepBaseline() {
    BaselineSender present = baseline;
    if (present == null) {
      return 0;
    }
    int work = present.step();
    metrics.baselinePagesLeft(present.pagesLeft());
    if (present.isLevel() && (disk == null || disk.isCaughtUp())) {
      baseline = null;
      present.close();
      protocol.onBaselineLevel(linkNumber, Clocks.bootNs());
      carryOut();
    }
    return work;
  }

  /** Encodes what was cut, as far as the link has room. */
  private int stepShipping() {
    EpochWriter present = writer;
    if (present == null) {
      shipping = Shipping.IDLE;
    }
    if (shipping == Shipping.IDLE || present == null) {
      return 0;
    }
    if (shipping == Shipping.RAM && present.shipPages()) {
      present.startPages(cutter.statePages(), cutter.stateVirt());
      shipping = Shipping.STATE;
    }
    if (shipping == Shipping.STATE && present.shipPages()) {
      shipping = Shipping.SEAL;
    }
    if (shipping == Shipping.SEAL && present.seal(cutter.stateBytes(), Clocks.bootNs())) {
      present.begin(shippingEpoch + 1, false);
      metrics.handedOver(Clocks.bootNs() - sealedNanos[(int) (shippingEpoch % COMMITS_MAX)]);
      metrics.shipped(cutter.pages(), present.writtenBytes() - bytesBefore);
      bytesBefore = present.writtenBytes();
      early.restart(Clocks.bootNs());
      shipping = Shipping.IDLE;
    }
    return shipping == Shipping.IDLE ? 1 : 0;
  }

  /** Between two epochs' ends: what has been written so far, into the open epoch. */
  private int stepEarly() {
    EpochWriter present = writer;
    if (!early.isOn() || present == null || shipping != Shipping.IDLE || !protocol.state().holdsPerEpoch()) {
      return 0;
    }
    if (early.isUnderWay()) {
      return early.step(present);
    }
    long now = Clocks.bootNs();
    if (early.nanosUntilDue(now) > 0) {
      return 0;
    }
    metrics.shippedEarly(early.look(now));
    return 1;
  }

  /** Waits until the ring has taken what was cut or found before, so that its copies can be overwritten and its epoch be sealed. */
  private void finishShipping() {
    long giveUpAt = Clocks.bootNs() + config.epochs().detectorNanos();
    while (shipping != Shipping.IDLE && !linkBroken) {
      if (stepShipping() == 0) {
        waitForRoom(giveUpAt);
      }
    }
    EpochWriter present = writer;
    while (present != null && early.isUnderWay() && !linkBroken) {
      if (early.step(present) == 0) {
        waitForRoom(giveUpAt);
      }
    }
    early.forget();
    shipping = Shipping.IDLE;
  }

  private void waitForRoom(long giveUpAt) {
    ReplicationLink present = link;
    if (present == null || !present.isUp() || Clocks.bootNs() - giveUpAt > 0) {
      linkBroken = true;
      linkProblem = present == null ? "no link" : present.isUp() ? "the standby takes no more pages" : present.failure();
      return;
    }
    if (present.poll() == 0 && present.prepareToWait()) {
      Poll.once(present.pollFd(), present.pollEvents(), 1);
    }
  }

  @Override
  public void ship(DirtyPages pages, long copies) {
    EpochWriter present = writer;
    if (present == null || linkBroken) {
      return;
    }
    present.startPages(pages, copies);
    long giveUpAt = Clocks.bootNs() + config.epochs().detectorNanos();
    while (!linkBroken && !present.shipPages()) {
      waitForRoom(giveUpAt);
    }
  }

  private void sealOutput() {
    if (disk != null) {
      disk.seal();
    }
    output.seal(sealWanted);
    if (holdFromSeal) {
      output.gate().protectedAgain();
      output.hold(sealWanted);
      holdFromSeal = false;
    }
  }

  /** Seals that the protocol asked for in its last event and that could not be done inside it. */
  private void carryOut() {
    while (sealWanted != 0) {
      long epoch = sealWanted;
      finishShipping();
      cutNanos = Clocks.bootNs();
      cutter.cut(sealed, this);
      nodePage.write(cutter.nodePage());
      long now = Clocks.bootNs();
      sealWanted = 0;
      sealedNanos[(int) (epoch % COMMITS_MAX)] = now;
      cutter.report(metrics);
      cutter.trace(trace, epoch, now);
      protocol.onSealed(epoch, now);
    }
  }

  /** Closes a link that the protocol has ended: not before the loop has left the link's own calls. */
  private void closeEnded() {
    if (endWanted) {
      endWanted = false;
      closeLink();
    }
  }

  private void publish() {
    if (state != protocol.state()) {
      state = protocol.state();
    }
    if (generation != protocol.generation()) {
      generation = protocol.generation();
    }
    if (openEpoch != protocol.openEpoch()) {
      openEpoch = protocol.openEpoch();
      metrics.packets(output.heldFrames(), output.receivedFrames() - output.heldFrames());
    }
  }

  private void await() {
    ReplicationLink present = link;
    long timeout = protocol.nanosUntilTick(Clocks.bootNs());
    if (present != null && !present.prepareToWait()) {
      return;
    }
    if (present != null && !linkReady) {
      timeout = Math.clamp(nanosUntilSign(), 0, timeout);
    }
    if (shipping != Shipping.IDLE || baseline != null || early.isUnderWay()) {
      timeout = Math.min(timeout, 1_000_000L);
    } else if (early.isOn() && protocol.state().holdsPerEpoch()) {
      timeout = Math.clamp(early.nanosUntilDue(Clocks.bootNs()), 0, timeout);
    }
    waits.set(0, doorbell.fd(), POLLIN());
    waits.set(1, present == null ? -1 : present.pollFd(), present == null ? 0 : present.pollEvents());
    waits.awaitNanos(timeout);
    if (waits.ready(0) != 0) {
      doorbell.drain();
    }
  }

  // ---- the link

  private void dropLink(String problem) {
    linkProblem = problem;
    boolean attached = linkReady;
    long number = linkNumber;
    closeLink();
    if (attached && protocol.link() == number) {
      protocol.onLinkLost(number, LinkEnd.CLOSED, Clocks.bootNs());
      carryOut();
    } else if (!attached) {
      why = "the standby's machine did not get ready: " + problem;
      LOG.log(Level.WARNING, "not protected: {0}", why);
    }
  }

  private void closeLink() {
    BaselineSender sender = baseline;
    if (sender != null) {
      sender.close();
      baseline = null;
    }
    EpochWriter present = writer;
    if (present != null) {
      present.close();
      writer = null;
    }
    ReplicationLink presentLink = link;
    if (presentLink != null) {
      presentLink.close();
      link = null;
      lastSent.clear();
      if (!finished && !stopAsked) {
        control.findStandby();
      }
    }
    shipping = Shipping.IDLE;
    early.forget();
    heartbeatDue = false;
    linkReady = false;
    linkBroken = false;
    endWanted = false;
  }

  // ---- what comes back (EpochWriter.Listener)

  @Override
  public void ready() {
    if (!linkReady) {
      linkReady = true;
      linkNumber++;
      bytesBefore = 0;
      protocol.onStandbyConnected(linkNumber, Clocks.bootNs());
      carryOut();
    }
  }

  @Override
  public void acknowledged(long epoch, long sentNanos) {
    heardReport(epoch, sentNanos);
  }

  @Override
  public void echoed(long sentNanos) {
    signsUnanswered = 0;
    if (linkReady) {
      heardReport(PrimaryProtocol.NO_EPOCH, sentNanos);
    }
  }

  private void heardReport(long epoch, long echoNanos) {
    if (!linkReady) {
      malformed(Reason.UNEXPECTED);
      return;
    }
    long now = Clocks.bootNs();
    if (echoNanos != PrimaryProtocol.NO_STAMP && echoNanos - now <= 0) {
      output.gate().leaseUntil(echoNanos + config.epochs().leaseNanos());
    }
    long ackedBefore = protocol.ackedEpoch();
    protocol.onAck(linkNumber, protocol.generation(), epoch, echoNanos, now);
    for (long committed = ackedBefore + 1; committed <= protocol.ackedEpoch() && protocol.link() != PrimaryProtocol.NO_LINK; committed++) {
      long sealedAt = sealedNanos[(int) (committed % COMMITS_MAX)];
      metrics.committed(committed, sealedAt, now);
      trace.committed(committed, now, now - sealedAt);
    }
    carryOut();
  }

  @Override
  public void bye(int reasonCode) {
    linkProblem = Reason.message(reasonCode, 0, 0);
    if (linkReady) {
      protocol.onGoodbye(linkNumber, Clocks.bootNs());
      carryOut();
    } else {
      linkBroken = true;
    }
  }

  @Override
  public void refused(int reasonCode, long found, long needed) {
    linkBroken = true;
    linkProblem = Reason.message(reasonCode, found, needed);
  }

  @Override
  public void malformed(Reason reason) {
    linkBroken = true;
    linkProblem = "the standby sent what does not parse: " + reason;
  }

  // ---- what the protocol decides (PrimaryActions)

  @Override
  public void requestGeneration(long wanted) {
    control.requestGeneration(wanted);
  }

  @Override
  public void passOutput() {
    if (disk != null) {
      disk.goAlone();
    }
    output.gate().goAlone(protocol.generation());
    output.pass();
  }

  @Override
  public void holdOutputFrom(long epoch) {
    holdFromSeal = true;
  }

  @Override
  public void startBaseline(long ofLink, long baselineEpoch) {
    EpochWriter present = writer;
    if (present != null) {
      present.begin(baselineEpoch, true);
      baseline = new BaselineSender(hypervisor, present);
    }
  }

  @Override
  public void seal(long epoch, boolean resume) {
    sealWanted = epoch;
  }

  @Override
  public void ship(long ofLink, long epoch, long sendNanos) {
    EpochWriter present = writer;
    if (present != null) {
      present.startPages(cutter.ramPages(), cutter.snapshotVirt());
      shipping = Shipping.RAM;
      shippingEpoch = epoch;
    }
  }

  @Override
  public void release(long epoch) {
    long start = Clocks.bootNs();
    output.release(epoch);
    long end = Clocks.bootNs();
    trace.released(epoch, end, end - start, output.heldFrames());
  }

  @Override
  public void heartbeat(long ofLink, long sendNanos) {
    EpochWriter present = writer;
    heartbeatDue = present != null && !present.heartbeat(sendNanos);
  }

  @Override
  public void sayGoodbye(long ofLink, Goodbye goodbye, long epoch) {
    EpochWriter present = writer;
    if (present != null && !present.bye(Reason.DETACHED, 0, 0)) {
      linkBroken = true;
      linkProblem = "no room for the goodbye";
    }
  }

  @Override
  public void endLink(long ofLink, LinkEnd reason) {
    if (ofLink == linkNumber) {
      linkProblem = reason.text();
      endWanted = true;
    }
  }

  @Override
  public void pauseGuest() {
    hypervisor.halt();
  }

  @Override
  public void resumeGuest() {
    hypervisor.unhalt();
  }

  @Override
  public void fence(FenceReason reason) {
    output.discard();
    hypervisor.halt();
    why = "fenced: " + reason;
    finished = true;
  }

  @Override
  public void detached() {
    finished = true;
  }

  @Override
  public void protectedFrom(long epoch) {
    why = "";
    LOG.log(Level.INFO, "protected from epoch {0} on", Long.toString(epoch));
  }

  @Override
  public void unprotected(Unprotected reason) {
    why = linkProblem.isEmpty() ? reason.toString() : reason + ": " + linkProblem;
    LOG.log(Level.WARNING, "not protected: {0}", why);
  }

  // ---- for reports, any thread

  PrimaryState state() {
    return state;
  }

  long generation() {
    return generation;
  }

  long openEpoch() {
    return openEpoch;
  }

  String why() {
    return why;
  }

  @Nullable Throwable failure() {
    return failure;
  }
}
