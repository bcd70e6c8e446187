package dev.dyad.engine.epoch;

import static dev.dyad.engine.epoch.PrimaryState.ALONE;
import static dev.dyad.engine.epoch.PrimaryState.ARBITRATING;
import static dev.dyad.engine.epoch.PrimaryState.FENCED;
import static dev.dyad.engine.epoch.PrimaryState.HANDING_OVER;
import static dev.dyad.engine.epoch.PrimaryState.JOINING;
import static dev.dyad.engine.epoch.PrimaryState.LEAVING;
import static dev.dyad.engine.epoch.PrimaryState.NEW;
import static dev.dyad.engine.epoch.PrimaryState.PROTECTED;
import static dev.dyad.engine.epoch.PrimaryState.STARTING;
import static dev.dyad.engine.epoch.PrimaryState.STOPPED;
import static dev.dyad.engine.epoch.PrimaryState.SYNCING;

/**
 * The primary's half of the protocol: decides when an epoch ends, when its output leaves, and who may go on after a loss.
 *
 * <p>Pure: events are method calls, actions are calls on {@link PrimaryActions}, time is an argument. No clock, no I/O, no
 * allocation, no thread of its own; every event comes from the epoch thread. Knows nothing of pages, packets and bytes.
 *
 * <pre>
 *   guest        primary                                   standby
 *     |             |  startBaseline ----- pages ------------>|  into the replica at once
 *     |  output     |  (passes)                               |
 *     |&lt;-- seal(b) -|  holdOutputFrom(b+1)                     |
 *     |             |  ship(b) ----------- rest, SEAL b ----->|  whole?
 *     |  output b+1 |  (held)                                 |
 *     |             |&lt;---------------- report b, echo --------|  READY
 *     |&lt;-- seal(n) -|  timer | full | output waits, none under way
 *     |             |  ship(n) ----------- pages, SEAL n ---->|  whole? then acknowledge, then apply
 *     |&lt;-- seal(n+1)|  ship(n+1) --------------------------->|
 *     |             |&lt;---------------- report n, echo --------|
 *     |             |  now &lt; echo + lease ?  release(n)       |
 *     |             |  heartbeat -------- send time --------->|
 * </pre>
 *
 * <h2>The lease</h2>
 * The arbiter decides who goes on, but a primary that was frozen does not know yet that it was asked; acknowledgements that
 * arrived before its sleep lie in its socket. So releasing needs a fresh sign, too. Every seal and heartbeat carries the
 * primary's send time <i>s</i>; the standby echoes the newest one it has. Let <i>D</i> be the detector's bound, <i>m</i> the
 * lease margin, <i>r</i> a bound on how far a clock's rate is from true time.
 * <ol>
 *   <li>The standby asks for promotion only after <i>D</i> on its clock since its last receipt: in true time not before
 *       receipt + D/(1+r). The receipt of the echoed frame is not before its sending, since the primary reads <i>s</i> before
 *       it sends and the standby reads its clock after it has received.
 *   <li>The primary releases only while its clock shows less than s + D − m: in true time before send + (D−m)/(1−r).
 *   <li>With m ≥ 2rD, (D−m)/(1−r) ≤ D(1−2r)/(1−r) ≤ D/(1+r): the last release is over before the first question can be asked.
 * </ol>
 * Only rates are compared, never readings of two clocks. What remains is the time between reading the clock and the packet's
 * leaving: the margin beyond 2rD is for that. A freeze inside that very gap can let packets of acknowledged epochs leave late;
 * the standby goes on from a state that contains them, so a client sees a delayed packet, never a contradiction. The clock
 * must go on while the host is suspended (CLOCK_BOOTTIME).
 *
 * <h2>Must never happen</h2>
 * <ul>
 *   <li>release(n) without an acknowledgement of n or later on the present link, or after the lease
 *   <li>output passing in a state in which a standby may hold a whole epoch
 *   <li>from JOINING, PROTECTED, LEAVING or HANDING_OVER to ALONE or STOPPED without the next generation or the standby's goodbye
 *   <li>a link while it is not decided who goes on
 *   <li>a seal while the window is full, or a second one before the first was answered
 *   <li>an epoch number used twice, or a generation that goes back
 *   <li>any action after FENCED or STOPPED but refusing links
 * </ul>
 */
public final class PrimaryProtocol {
  /** No link: links are numbered from 1, upwards, by whoever makes them. */
  public static final long NO_LINK = 0;

  /** No epoch: epochs are numbered from 1 over the guest's whole life, across generations. */
  public static final long NO_EPOCH = 0;

  /** No send time was received yet. */
  public static final long NO_STAMP = Long.MIN_VALUE;

  private final EpochConfig config;
  private final PrimaryActions actions;
  private final Watch watch;

  private PrimaryState state = NEW;
  private boolean broken;

  private long generation;
  private boolean asking;
  private long askAtNanos;
  private long undecidedSinceNanos;
  private boolean leaving;

  private long link = NO_LINK;
  private long newestLink = NO_LINK;
  private long stampNanos;
  private long echoNanos = NO_STAMP;

  private long openEpoch;
  private long openedNanos;
  private boolean sealing;
  private boolean outputWaiting;
  private boolean epochFull;
  private long sealedEpoch;
  private long ackedEpoch;
  private long releasedEpoch;
  private long commitSinceNanos;
  private long blockedSinceNanos;

  private long finalEpoch = NO_EPOCH;
  private boolean handedOver;
  private boolean guestPaused;
  private long staleEvents;

  public PrimaryProtocol(EpochConfig config, PrimaryActions actions) {
    this.config = config;
    this.actions = actions;
    watch = new Watch(config.detectorNanos());
  }

  // ---- how it begins

  /**
   * A guest that runs on this host shall be run under {@code generation}, which is still to be won.
   *
   * <p>For a guest that was protected before, {@code generation} must be the last one this host held plus one. Never take the arbiter's
   * newest plus one: that would overrule a standby that went on.
   *
   * @param firstEpoch number of the first epoch, above all that were used before
   */
  public void onStart(long generation, long firstEpoch, long nowNanos) {
    if (!enter(PrimaryEvent.START, nowNanos)) {
      return;
    }
    begin(generation - 1, firstEpoch, nowNanos);
    become(STARTING);
    ask();
  }

  /** This host has just gone on as a standby: it holds {@code generation}, and its guest makes {@code firstEpoch} now. */
  public void onPromoted(long generation, long firstEpoch, long nowNanos) {
    if (!enter(PrimaryEvent.PROMOTED, nowNanos)) {
      return;
    }
    begin(generation, firstEpoch, nowNanos);
    goAlone(Unprotected.TOOK_OVER);
  }

  private void begin(long generation, long firstEpoch, long nowNanos) {
    require(generation >= 0 && firstEpoch > NO_EPOCH, "generation and first epoch are counted from 1");
    this.generation = generation;
    openEpoch = firstEpoch;
    openedNanos = nowNanos;
    sealedEpoch = ackedEpoch = releasedEpoch = firstEpoch - 1;
  }

  // ---- the link

  /** A standby that holds nothing of this guest is at the other end of {@code newLink}; the handshake is done. */
  public void onStandbyConnected(long newLink, long nowNanos) {
    if (!enter(PrimaryEvent.STANDBY_CONNECTED, nowNanos)) {
      return;
    }
    require(newLink > newestLink, "links are numbered upwards");
    newestLink = newLink;
    if (state != ALONE) {
      actions.endLink(newLink, state.hasLink() ? LinkEnd.BUSY : LinkEnd.NOT_NOW);
      return;
    }
    link = newLink;
    echoNanos = NO_STAMP;
    stampNanos = nowNanos;
    watch.heard(nowNanos);
    become(SYNCING);
    actions.startBaseline(link, openEpoch);
  }

  /** So little of the baseline is left that it can be sealed. */
  public void onBaselineLevel(long ofLink, long nowNanos) {
    if (!enter(ofLink, PrimaryEvent.BASELINE_LEVEL, nowNanos)) {
      return;
    }
    become(JOINING);
    watch.heard(nowNanos); // the shorter bound begins here, not with what it was silent before
    commitSinceNanos = nowNanos;
    actions.holdOutputFrom(openEpoch + 1);
    seal(true);
  }

  /** Bytes of any kind came from the standby. */
  public void onHeard(long ofLink, long nowNanos) {
    if (enter(ofLink, PrimaryEvent.HEARD, nowNanos)) {
      watch.heard(nowNanos);
    }
  }

  /**
   * The standby's report: acknowledgement and heartbeat in one.
   *
   * @param wholeEpoch the newest epoch that it holds whole, {@link #NO_EPOCH} before the baseline
   * @param echoedSendNanos the newest send time that it has received, or {@link #NO_STAMP}
   * @param nowNanos read after the report was, as late as possible: it decides about release
   */
  public void onAck(long ofLink, long ofGeneration, long wholeEpoch, long echoedSendNanos, long nowNanos) {
    if (!enter(ofLink, PrimaryEvent.ACK, nowNanos)) {
      return;
    }
    watch.heard(nowNanos);
    if (ofGeneration != generation) {
      lose(LinkEnd.WRONG_GENERATION, nowNanos);
      return;
    }
    if (wholeEpoch > (state == SYNCING ? NO_EPOCH : sealedEpoch)) {
      lose(LinkEnd.ACK_OF_UNSENT, nowNanos);
      return;
    }
    if (echoedSendNanos != NO_STAMP) {
      if (echoedSendNanos - nowNanos > 0) {
        lose(LinkEnd.ECHO_FROM_FUTURE, nowNanos);
        return;
      }
      if (echoNanos == NO_STAMP || echoedSendNanos - echoNanos > 0) {
        echoNanos = echoedSendNanos;
      }
    }
    // With durability = disk, an epoch in which the guest flushed counts here only once both disks have it.
    if (wholeEpoch > ackedEpoch) {
      if (ackedEpoch == releasedEpoch) {
        blockedSinceNanos = nowNanos;
      }
      ackedEpoch = wholeEpoch;
      commitSinceNanos = nowNanos;
      if (state == JOINING) {
        become(PROTECTED);
        actions.protectedFrom(ackedEpoch);
      }
    }
    proceed(nowNanos);
  }

  /** The standby has given up its state: it can never promote from what it was sent. */
  public void onGoodbye(long ofLink, long nowNanos) {
    if (!enter(ofLink, PrimaryEvent.GOODBYE, nowNanos)) {
      return;
    }
    actions.endLink(link, LinkEnd.GOODBYE);
    link = NO_LINK;
    goOn(Unprotected.STANDBY_LEFT, nowNanos);
  }

  /** {@code ofLink} is closed, or was closed by this host because of {@code reason}. */
  public void onLinkLost(long ofLink, LinkEnd reason, long nowNanos) {
    if (enter(ofLink, PrimaryEvent.LINK_LOST, nowNanos)) {
      afterLoss(nowNanos);
    }
  }

  // ---- epochs

  /** The guest has made output that is held in the open epoch. */
  public void onOutputWaiting(long nowNanos) {
    if (enter(PrimaryEvent.OUTPUT_WAITING, nowNanos)) {
      outputWaiting = true;
      proceed(nowNanos);
    }
  }

  /** The open epoch reaches a bound: staging ring or held output are at their soft mark. */
  public void onEpochFull(long nowNanos) {
    if (!enter(PrimaryEvent.EPOCH_FULL, nowNanos)) {
      return;
    }
    if (state == ARBITRATING) {
      pauseGuest();
      return;
    }
    epochFull = true;
    proceed(nowNanos);
  }

  /** Kick to resume of {@code epoch} is done. */
  public void onSealed(long epoch, long nowNanos) {
    boolean answered = sealing;
    sealing = false;
    if (!enter(PrimaryEvent.SEALED, nowNanos)) {
      return;
    }
    require(answered && epoch == openEpoch, "sealed is not what was asked for");
    if (sealedEpoch == ackedEpoch) {
      commitSinceNanos = nowNanos;
    }
    sealedEpoch = epoch;
    openEpoch = epoch + 1;
    openedNanos = nowNanos;
    // With a replicated disk, its queue is sealed by the same action; nothing here changes.
    stampNanos = nowNanos;
    actions.ship(link, epoch, nowNanos);
    proceed(nowNanos);
  }

  /** Time goes by; at least every {@link EpochConfig#heartbeatNanos}, or after {@link #nanosUntilTick}. */
  public void onTick(long nowNanos) {
    if (!enter(PrimaryEvent.TICK, nowNanos)) {
      return;
    }
    if (state == STARTING || state == ARBITRATING) {
      if (state == ARBITRATING && nowNanos - undecidedSinceNanos >= config.undecidedRunNanos()) {
        pauseGuest();
      }
      if (!asking && nowNanos - askAtNanos >= 0) {
        ask();
      }
      return;
    }
    if (watch.silentNanos(nowNanos) >= silenceNanosMax()) {
      lose(LinkEnd.SILENT, nowNanos);
      return;
    }
    if (commitIsLate(nowNanos)) {
      lose(LinkEnd.SLOW, nowNanos);
      return;
    }
    if (nowNanos - stampNanos >= config.heartbeatNanos()) {
      stampNanos = nowNanos;
      actions.heartbeat(link, nowNanos);
    }
    proceed(nowNanos);
  }

  // ---- the arbiter

  /** {@code won} is this host's. */
  public void onGranted(long won, long nowNanos) {
    if (!enterVerdict(PrimaryEvent.GRANTED, won, nowNanos)) {
      return;
    }
    generation = won;
    goOn(state == STARTING ? Unprotected.NO_STANDBY_YET : Unprotected.STANDBY_LOST, nowNanos);
  }

  /** Somebody else holds {@code lost} or a later generation. */
  public void onDenied(long lost, long nowNanos) {
    if (!enterVerdict(PrimaryEvent.DENIED, lost, nowNanos)) {
      return;
    }
    FenceReason reason = state == STARTING ? FenceReason.DENIED_AT_START
        : handedOver ? FenceReason.HANDED_OVER
        : FenceReason.LOST_ARBITRATION;
    become(FENCED);
    actions.fence(reason);
  }

  /** The arbiter gave no answer about {@code asked}. */
  public void onArbiterUnreachable(long asked, long nowNanos) {
    if (enterVerdict(PrimaryEvent.UNREACHABLE, asked, nowNanos)) {
      askAtNanos = nowNanos + config.askAgainNanos();
    }
  }

  // ---- how it ends

  /** Protection shall end and the guest stay here; done with {@link PrimaryActions#detached}. */
  public void onDetach(long nowNanos) {
    if (!enter(PrimaryEvent.DETACH, nowNanos)) {
      return;
    }
    leaving = true;
    switch (state) {
      case JOINING, PROTECTED -> {
        become(LEAVING);
        commitSinceNanos = nowNanos;
        actions.sayGoodbye(link, Goodbye.DETACH, sealedEpoch);
      }
      case STARTING, ARBITRATING -> {} // whether the guest may stay is what the arbiter is asked
      default -> {
        if (link != NO_LINK) {
          actions.endLink(link, LinkEnd.GOODBYE);
          link = NO_LINK;
        }
        leave();
      }
    }
  }

  /** The guest shall move to the standby; ends in FENCED here once it has. Comes back to ALONE when it could not. */
  public void onHandover(long nowNanos) {
    if (enter(PrimaryEvent.HANDOVER, nowNanos)) {
      become(HANDING_OVER);
      proceed(nowNanos);
    }
  }

  // ---- what can be asked

  public PrimaryState state() {
    return state;
  }

  /** The last generation that this host held; one that is only asked for does not count. */
  public long generation() {
    return generation;
  }

  /** The epoch in which the guest runs now. */
  public long openEpoch() {
    return openEpoch;
  }

  public long sealedEpoch() {
    return sealedEpoch;
  }

  public long ackedEpoch() {
    return ackedEpoch;
  }

  public long releasedEpoch() {
    return releasedEpoch;
  }

  /** Epochs sealed and not acknowledged. */
  public long epochsInFlight() {
    return sealedEpoch - ackedEpoch;
  }

  /** The link in use, or {@link #NO_LINK}. */
  public long link() {
    return link;
  }

  /** Events dropped because their link had ended. */
  public long staleEvents() {
    return staleEvents;
  }

  /** How long an idle driver may sleep before the next {@link #onTick}, at least 0. */
  public long nanosUntilTick(long nowNanos) {
    long wait = config.heartbeatNanos();
    if (state == STARTING || state == ARBITRATING) {
      wait = asking ? wait : Math.min(wait, askAtNanos - nowNanos);
    } else if (state.hasLink()) {
      wait = Math.min(wait, stampNanos + config.heartbeatNanos() - nowNanos);
      wait = Math.min(wait, silenceNanosMax() - watch.silentNanos(nowNanos));
      if (state.holdsPerEpoch() && epochsInFlight() < config.window()) {
        wait = Math.min(wait, openedNanos + config.periodNanos() - nowNanos);
      }
    }
    return Math.max(0, wait);
  }

  // ---- inside

  private long silenceNanosMax() {
    return state == SYNCING ? config.syncingDetectorNanos() : config.detectorNanos();
  }

  /** Whatever may have become possible: release, the next epoch's end, the goodbye of a handover. */
  private void proceed(long nowNanos) {
    if (releasedEpoch < ackedEpoch && echoNanos != NO_STAMP && nowNanos - echoNanos < config.leaseNanos()) {
      releasedEpoch = ackedEpoch;
      actions.release(releasedEpoch);
    }
    if (state == HANDING_OVER) {
      proceedWithHandover();
    } else if (state.holdsPerEpoch() && epochsInFlight() < config.window() && epochEnds(nowNanos)) {
      seal(true);
    }
  }

  private boolean epochEnds(long nowNanos) {
    return epochFull
        || nowNanos - openedNanos >= config.periodNanos()
        || (config.adaptive() && outputWaiting && sealedEpoch == ackedEpoch);
  }

  private void proceedWithHandover() {
    if (finalEpoch == NO_EPOCH) {
      if (epochsInFlight() < config.window()) {
        finalEpoch = openEpoch;
        guestPaused = true;
        seal(false);
      }
    } else if (!handedOver && releasedEpoch >= finalEpoch) {
      handedOver = true;
      actions.sayGoodbye(link, Goodbye.HANDOVER, finalEpoch);
    }
  }

  private void seal(boolean resume) {
    sealing = true;
    outputWaiting = false;
    epochFull = false;
    actions.seal(openEpoch, resume);
  }

  /** Alive, but of no use: it does not commit what it was sent, or its echoes are always older than the lease. */
  private boolean commitIsLate(long nowNanos) {
    if (state == SYNCING) {
      return false;
    }
    if (state == LEAVING || handedOver) {
      return nowNanos - commitSinceNanos >= config.commitNanosMax();
    }
    return (sealedEpoch > ackedEpoch && nowNanos - commitSinceNanos >= config.commitNanosMax())
        || (ackedEpoch > releasedEpoch && nowNanos - blockedSinceNanos >= config.commitNanosMax());
  }

  private void lose(LinkEnd reason, long nowNanos) {
    actions.endLink(link, reason);
    afterLoss(nowNanos);
  }

  private void afterLoss(long nowNanos) {
    link = NO_LINK;
    if (state == SYNCING) {
      goAlone(Unprotected.STANDBY_LOST);
      return;
    }
    become(ARBITRATING);
    undecidedSinceNanos = nowNanos;
    actions.unprotected(Unprotected.STANDBY_LOST);
    ask();
  }

  private void ask() {
    asking = true;
    actions.requestGeneration(generation + 1);
  }

  /** No other host can go on from here: everything held may leave. */
  private void goOn(Unprotected why, long nowNanos) {
    openedNanos = nowNanos;
    if (leaving) {
      leave();
    } else {
      goAlone(why);
    }
  }

  private void goAlone(Unprotected why) {
    become(ALONE);
    letGo();
    actions.unprotected(why);
  }

  private void leave() {
    become(STOPPED);
    letGo();
    actions.detached();
  }

  private void letGo() {
    sealedEpoch = ackedEpoch = releasedEpoch = openEpoch - 1;
    outputWaiting = false;
    epochFull = false;
    finalEpoch = NO_EPOCH;
    handedOver = false;
    actions.passOutput();
    if (guestPaused) {
      guestPaused = false;
      actions.resumeGuest();
    }
  }

  private void pauseGuest() {
    if (!guestPaused) {
      guestPaused = true;
      actions.pauseGuest();
    }
  }

  private void become(PrimaryState next) {
    require(state.mayBecome(next), "not in the table of transitions");
    state = next;
  }

  private boolean enter(long ofLink, PrimaryEvent event, long nowNanos) {
    require(ofLink > NO_LINK && ofLink <= newestLink, "a link nobody has heard of");
    if (ofLink != link) {
      staleEvents++;
      return false;
    }
    return enter(event, nowNanos);
  }

  private boolean enterVerdict(PrimaryEvent event, long ofGeneration, long nowNanos) {
    if (!enter(event, nowNanos)) {
      return false;
    }
    require(asking && ofGeneration == generation + 1, "a verdict nobody asked for");
    asking = false;
    return true;
  }

  private boolean enter(PrimaryEvent event, long nowNanos) {
    require(!broken && !sealing, "the last event was a violation, or a seal is to be answered first");
    watch.turn(nowNanos);
    Reaction reaction = event.in(state);
    if (reaction == Reaction.VIOLATION) {
      violation(event.name());
    }
    return reaction == Reaction.ACTS;
  }

  private void require(boolean holds, String what) {
    if (!holds) {
      violation(what);
    }
  }

  private void violation(String what) {
    broken = true;
    throw new ProtocolViolation("primary in " + state + ", generation " + generation + ", epoch " + openEpoch + ": " + what);
  }
}
