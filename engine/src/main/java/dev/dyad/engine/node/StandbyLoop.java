package dev.dyad.engine.node;

import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.POLLOUT;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.engine.epoch.DropReason;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.Goodbye;
import dev.dyad.engine.epoch.LinkEnd;
import dev.dyad.engine.epoch.PrimaryProtocol;
import dev.dyad.engine.epoch.StandbyActions;
import dev.dyad.engine.epoch.StandbyProtocol;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.memory.EpochReader;
import dev.dyad.engine.memory.Replica;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import dev.dyad.engine.wire.Reason;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.function.ObjLongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * The standby's one loop: receives epochs, drives the protocol, applies what is whole, promotes.
 *
 * <p>Thread: epoch. Owns protocol, link, reader and replica while it runs. Others only {@link #post}. In steady state it allocates
 * nothing. Its one clock is CLOCK_BOOTTIME, as the primary's.
 */
final class StandbyLoop implements StandbyActions, EpochReader.Listener, Runnable {
  /** What the loop needs done by threads that may block. */
  interface Control {
    /** Ask the arbiter, then post onGranted, onDenied or onArbiterUnreachable. */
    void requestGeneration(long generation);

    /** Build a machine like the primary's, then call {@link #attachMachine} or {@link #refuseMachine} for this memory. */
    void buildMachine(int kind, byte[] description, GuestMemory memory);

    /** The machine is not needed any more. */
    void discardMachine(StandbyMachine machine);

    /** The guest runs here from {@code epoch} on. Called once; the loop has ended. */
    void promoted(StandbyMachine machine, @Nullable PrimaryDisk disk, long nodePage, long generation, long epoch);

    /** The generation cannot be asked for now: post onArbiterUnreachable. */
    void cannotAsk(long generation);
  }

  private static final Logger LOG = System.getLogger("dyad.standby");

  /** Frames of epochs beyond the ring: an epoch of up to 1 GiB of pages is held whole before it is applied. */
  private static final long EPOCH_BYTES_MAX = 1L << 30;

  private static final long EPOCH_BYTES_KEPT = 64L << 20;
  private static final long APPLY_BUDGET_BYTES = 2L << 20;

  /**
   * A primary that says nothing for so many times the detector's bound while its machine is being built is gone. Nothing can be taken over yet, and a machine is
   * not begun anew for a short silence.
   */
  private static final int BUILDING_DETECTORS = 10;

  /** More than a primary's window. */
  private static final int WHOLE_MAX = 64;

  private final Control control;
  private final @Nullable ReceivingDisk disk;
  private final EpochMetrics metrics;
  private final long buildingNanos;
  private final StandbyProtocol protocol;
  private final Mailbox posted = new Mailbox();
  private final EventFd doorbell = new EventFd();
  private final Poll waits = new Poll(2);
  private final Idle idle;

  private long newestLink;
  private long linkNumber;
  private @Nullable ReplicaLink link;
  private @Nullable EpochReader reader;
  private @Nullable StandbyMachine machine;
  private @Nullable GuestMemory memory;
  private long linkGeneration;
  private long baselineEpoch;
  private @Nullable Mapping stateBlock;
  private boolean attached;
  private boolean linkEnded;
  private String linkProblem = "";
  private long activity;
  private long heardNanos;
  private long askedNanos;

  private int machineKind;
  private byte @Nullable [] machineDescription;

  // Epochs that are whole in memory and not told yet, since the disk's part of them is not.
  private final long[] wholeEpochs = new long[WHOLE_MAX];
  private final long[] wholeSentNanos = new long[WHOLE_MAX];
  private int wholeFirst;
  private int wholeCount;

  private long acknowledged;
  private long applyWanted;
  private boolean dropWanted;
  private @Nullable LinkEnd lostWanted;
  private boolean finished;

  private volatile StandbyState state = StandbyState.WAITING;
  private volatile long wholeEpoch;
  private volatile long generation;
  private volatile String why = "no primary has come yet";
  private volatile @Nullable Throwable failure;

  StandbyLoop(EpochConfig epochs, Idle idle, @Nullable ReceivingDisk disk, EpochMetrics metrics, Control control) {
    this.control = control;
    this.disk = disk;
    this.metrics = metrics;
    this.idle = idle;
    buildingNanos = BUILDING_DETECTORS * epochs.detectorNanos();
    protocol = new StandbyProtocol(epochs, this);
    if (disk != null) {
      disk.onNews(doorbell::signal);
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

  /** Events from outside, to be posted. */
  void event(ObjLongConsumer<StandbyProtocol> event) {
    event.accept(protocol, Clocks.bootNs());
    carryOut();
  }

  /** A freshly connected primary of {@code ofGeneration}. The link is closed when it is not needed. Any thread. */
  void offer(ReplicaLink offered, long ofGeneration) {
    post(() -> take(offered, ofGeneration), offered::close);
  }

  private void take(ReplicaLink offered, long ofGeneration) {
    if (finished) {
      offered.close();
      return;
    }
    if (link != null) {
      // The protocol hears of it: a newer generation makes what is held here obsolete.
      if (attached) {
        protocol.onConnected(++newestLink, ofGeneration, 1, Clocks.bootNs());
      }
      offered.close();
      carryOut();
      return;
    }
    link = offered;
    reader = new EpochReader(offered, ofGeneration, EPOCH_BYTES_MAX, EPOCH_BYTES_KEPT, this);
    linkGeneration = ofGeneration;
    attached = false;
    linkEnded = false;
    acknowledged = PrimaryProtocol.NO_EPOCH;
    heardNanos = Clocks.bootNs();
    why = "a primary is connected, the machine is being built";
  }

  /**
   * The machine that {@link Control#buildMachine} was asked for. It is discarded when the primary that it was built for has gone. Any thread.
   *
   * @param layout the memory that it was asked for with
   * @param state room for the machine's state, the loop's from now on
   */
  void attachMachine(GuestMemory layout, StandbyMachine built, Mapping state) {
    post(
        () -> attach(layout, built, state),
        () -> {
          built.close();
          state.close();
        });
  }

  private void attach(GuestMemory layout, StandbyMachine built, Mapping state) {
    EpochReader present = reader;
    if (present == null || memory != layout || linkEnded || machine != null) {
      control.discardMachine(built);
      state.close();
      return;
    }
    long[] blocks = new long[layout.blocks().size() + 1];
    for (int i = 0; i < blocks.length - 1; i++) {
      blocks[i] = built.hostVirt(i);
    }
    blocks[blocks.length - 1] = state.hostVirt();
    stateBlock = state;
    machine = built;
    present.attach(new Replica(layout, blocks));
    attached = true;
    why = "receiving the baseline";
    linkNumber = ++newestLink;
    present.ready(); // before the first report
    protocol.onConnected(linkNumber, linkGeneration, baselineEpoch, Clocks.bootNs());
    carryOut();
  }

  /** No machine like the primary's can be built here. Any thread. */
  void refuseMachine(GuestMemory layout, String line) {
    post(() -> refuse(layout, line));
  }

  private void refuse(GuestMemory layout, String line) {
    EpochReader present = reader;
    if (present == null || memory != layout) {
      return; // that primary has gone
    }
    why = line;
    present.leave(Reason.MACHINE, 0, 0);
    present.poll();
    closeLink();
  }

  void stop() {
    event(StandbyProtocol::onStop);
  }

  /** Ends the loop at once. To be posted. */
  void die() {
    finished = true;
  }

  @Override
  public void run() {
    try {
      while (!finished) {
        int work = posted.serve() + serveLink() + stepWhole() + stepApply();
        protocol.onTick(Clocks.bootNs());
        carryOut();
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
      dropMachine(); // unless it was promoted
      closeLink();
      publish();
    }
  }

  void closeAll() {
    posted.end(); // also when the loop was never started
    if (stateBlock != null) {
      stateBlock.close();
      stateBlock = null;
    }
    waits.close();
    doorbell.close();
  }

  // ---- stages

  private int serveLink() {
    EpochReader present = reader;
    ReplicaLink presentLink = link;
    if (present == null || presentLink == null || linkEnded) {
      return 0;
    }
    int work = present.poll();
    if (activity != presentLink.activity()) {
      activity = presentLink.activity();
      // Read after the bytes were: the lease rests on it.
      heardNanos = Clocks.bootNs();
      if (attached) {
        protocol.onHeard(linkNumber, heardNanos);
      }
    }
    if (!presentLink.isUp() && !linkEnded) {
      lose(LinkEnd.CLOSED, presentLink.failure());
    }
    if (!attached && !linkEnded && nanosUntilGivenUp() <= 0) {
      lose(LinkEnd.SILENT, "nothing came for " + buildingNanos / 1_000_000 + " ms");
    }
    carryOut();
    return work;
  }

  /** While the machine is being built, which no other detector watches. */
  private long nanosUntilGivenUp() {
    return heardNanos + buildingNanos - Clocks.bootNs();
  }

  /** Tells the protocol of epochs that are whole in memory and, where there is one, on the disk. */
  private int stepWhole() {
    int told = tellWhole();
    if (told > 0) {
      carryOut();
    }
    return told;
  }

  private int tellWhole() {
    int told = 0;
    while (wholeCount > 0 && (disk == null || disk.isWhole(wholeEpochs[wholeFirst], baselineEpoch))) {
      long epoch = wholeEpochs[wholeFirst];
      long sentNanos = wholeSentNanos[wholeFirst];
      wholeFirst = (wholeFirst + 1) % WHOLE_MAX;
      wholeCount--;
      told++;
      protocol.onEpochWhole(linkNumber, linkGeneration, epoch, sentNanos, Clocks.bootNs());
      if (disk != null && protocol.wholeEpoch() >= epoch) {
        disk.committed(epoch, baselineEpoch);
      }
    }
    return told;
  }

  private int stepApply() {
    EpochReader present = reader;
    if (applyWanted == 0 || present == null || !present.apply(applyWanted, APPLY_BUDGET_BYTES)) {
      return applyWanted == 0 ? 0 : 1;
    }
    long epoch = applyWanted;
    applyWanted = 0;
    protocol.onApplied(epoch, Clocks.bootNs());
    carryOut();
    return 1;
  }

  private void carryOut() {
    while (lostWanted != null || (dropWanted && applyWanted == 0)) {
      LinkEnd lost = lostWanted;
      if (lost != null) {
        lostWanted = null;
        if (attached) {
          protocol.onLinkLost(linkNumber, lost, Clocks.bootNs());
        } else {
          why = "the primary has gone before its machine was built: " + linkProblem;
          LOG.log(Level.WARNING, why);
          closeLink();
        }
      } else {
        dropWanted = false;
        dropMachine();
        protocol.onReplicaDropped(Clocks.bootNs());
        closeLink();
      }
    }
    if (linkEnded && protocol.state() == StandbyState.WAITING) {
      // The protocol would not have this primary.
      dropMachine();
      closeLink();
    }
  }

  private void publish() {
    state = protocol.state();
    if (wholeEpoch != protocol.wholeEpoch()) {
      wholeEpoch = protocol.wholeEpoch();
    }
    if (generation != protocol.generation()) {
      generation = protocol.generation();
    }
  }

  private void await() {
    ReplicaLink present = linkEnded ? null : link;
    if (present != null && !present.prepareToWait()) {
      return;
    }
    waits.set(0, doorbell.fd(), POLLIN());
    waits.set(1, present == null ? -1 : present.pollFd(), present == null ? 0 : present.pollEvents());
    long timeout = protocol.nanosUntilTick(Clocks.bootNs());
    waits.awaitNanos(present == null || attached ? timeout : Math.clamp(nanosUntilGivenUp(), 0, timeout));
    if (waits.ready(0) != 0) {
      doorbell.drain();
    }
  }

  // ---- the link

  private void lose(LinkEnd reason, String problem) {
    why = problem;
    linkProblem = problem;
    lostWanted = reason;
    fenceLink();
  }

  /** From here on the ring holds what it holds, whatever a primary that was only stopped still sends. */
  private void fenceLink() {
    linkEnded = true;
    ReplicaLink present = link;
    if (present != null) {
      present.fence();
    }
  }

  /** Frees link and reader. Whole epochs that wait in the ring are gone with it, so only when none is needed. */
  private void closeLink() {
    EpochReader present = reader;
    if (present != null) {
      present.close();
      reader = null;
    }
    ReplicaLink presentLink = link;
    if (presentLink != null) {
      presentLink.close();
      link = null;
    }
    memory = null;
    attached = false;
    linkEnded = false;
    applyWanted = 0;
    wholeCount = 0;
  }

  private void dropMachine() {
    StandbyMachine present = machine;
    if (present != null) {
      machine = null;
      control.discardMachine(present);
      Mapping state = stateBlock;
      if (state != null) {
        state.close();
        stateBlock = null;
      }
    }
  }

  // ---- what arrives (EpochReader.Listener)

  @Override
  public void machine(int kind, byte[] description) {
    machineKind = kind;
    machineDescription = description;
  }

  @Override
  public void memory(GuestMemory announced, long epoch) {
    byte[] description = machineDescription;
    if (description == null) {
      lose(LinkEnd.UNEXPECTED, "the primary sent no description of its machine");
      return;
    }
    memory = announced;
    baselineEpoch = epoch;
    control.buildMachine(machineKind, description, announced);
  }

  @Override
  public void whole(long epoch, boolean baseline, long sentNanos, int stateBytes) {
    if (wholeCount == WHOLE_MAX) {
      lose(LinkEnd.UNEXPECTED, "the disk's part of epoch " + wholeEpochs[wholeFirst] + " does not come, " + WHOLE_MAX + " more epochs did");
      return;
    }
    int place = (wholeFirst + wholeCount++) % WHOLE_MAX;
    wholeEpochs[place] = epoch;
    wholeSentNanos[place] = sentNanos;
    tellWhole();
  }

  @Override
  public void heartbeat(long sentNanos) {
    EpochReader present = reader;
    if (attached) {
      protocol.onStamp(linkNumber, linkGeneration, sentNanos, Clocks.bootNs());
    } else if (present != null && !linkEnded) {
      present.echo(sentNanos); // the protocol's reports begin when the machine is ready; until then the primary must know that somebody builds it
    }
  }

  @Override
  public void bye(int reasonCode, long found, long needed) {
    why = Reason.message(reasonCode, found, needed);
    if (attached) {
      protocol.onGoodbye(linkNumber, Goodbye.DETACH, protocol.wholeEpoch(), Clocks.bootNs());
    } else {
      linkProblem = why;
      lostWanted = LinkEnd.GOODBYE;
    }
  }

  @Override
  public void refused(Reason reason, long found, long needed) {
    lose(LinkEnd.CORRUPT, Reason.message(reason.code(), found, needed));
  }

  // ---- what the protocol decides (StandbyActions)

  @Override
  public void acceptBaseline(long ofLink, long ofGeneration, long baseline) {
    why = "receiving the baseline";
  }

  @Override
  public void report(long ofLink, long ofGeneration, long whole, long echoedSendNanos) {
    EpochReader present = reader;
    if (present != null && !linkEnded) {
      if (whole == acknowledged) {
        present.echo(echoedSendNanos);
      } else {
        present.acknowledge(whole, echoedSendNanos);
        acknowledged = whole;
      }
    }
  }

  @Override
  public void apply(long epoch) {
    applyWanted = epoch;
  }

  @Override
  public void discardAfter(long whole) {
    // A part of an epoch never leaves the ring: it is freed with the link.
  }

  @Override
  public void requestGeneration(long wanted) {
    if (disk != null && disk.isUnfit()) {
      why = "this host's disk cannot be taken over from";
      control.cannotAsk(wanted);
      return;
    }
    askedNanos = Clocks.bootNs();
    control.requestGeneration(wanted);
  }

  @Override
  public void promote(long ofGeneration, long epoch) {
    StandbyMachine present = machine;
    EpochReader presentReader = reader;
    Mapping state = stateBlock;
    if (present == null || presentReader == null || state == null) {
      throw new IllegalStateException("promotion without a replica");
    }
    long stateVirt = state.hostVirt();
    // Also after a handover, whose link is still up: before the guest runs here, nobody else can write here.
    fenceLink();
    int bytes = presentReader.appliedStateBytes();
    long grantedNanos = Clocks.bootNs();
    // Until the disk holds exactly this epoch, under an identifier of its own, nothing may run.
    PrimaryDisk taken = disk == null ? null : disk.promote(epoch, baselineEpoch);
    present.promote(stateVirt + EpochCutter.NODE_BYTES, bytes - EpochCutter.NODE_BYTES);
    LOG.log(
        Level.INFO,
        "the guest goes on: the primary was silent for {0} ms when the arbiter was asked, which took {1} ms; the guest ran {2} ms later",
        (askedNanos - heardNanos) / 1_000_000,
        (grantedNanos - askedNanos) / 1_000_000,
        (Clocks.bootNs() - grantedNanos) / 1_000_000);
    machine = null;
    finished = true;
    why = "";
    control.promoted(present, taken, stateVirt, ofGeneration, epoch);
  }

  @Override
  public void dropReplica(DropReason reason) {
    why = "state given up: " + reason;
    LOG.log(Level.WARNING, "state given up: {0}; the link: {1}", reason, linkProblem);
    dropWanted = true;
  }

  @Override
  public void sayGoodbye(long ofLink) {
    EpochReader present = reader;
    if (present != null && !linkEnded) {
      present.leave(Reason.SHUTDOWN, 0, 0);
      present.poll();
    }
  }

  @Override
  public void endLink(long ofLink, LinkEnd reason) {
    if (ofLink == linkNumber && attached) {
      why = reason.text();
      linkProblem = why;
      fenceLink();
    }
  }

  @Override
  public void ready(long epoch) {
    why = "";
    LOG.log(Level.INFO, "ready to take over from epoch {0} on", Long.toString(epoch));
    metrics.committed(epoch, Clocks.bootNs(), Clocks.bootNs());
  }

  @Override
  public void stopped() {
    finished = true;
  }

  // ---- for reports, any thread

  StandbyState state() {
    return state;
  }

  long wholeEpoch() {
    return wholeEpoch;
  }

  long generation() {
    return generation;
  }

  String why() {
    return why;
  }

  @Nullable Throwable failure() {
    return failure;
  }
}
