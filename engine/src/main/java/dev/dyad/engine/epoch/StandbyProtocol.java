package dev.dyad.engine.epoch;

import static dev.dyad.engine.epoch.PrimaryProtocol.NO_EPOCH;
import static dev.dyad.engine.epoch.PrimaryProtocol.NO_LINK;
import static dev.dyad.engine.epoch.PrimaryProtocol.NO_STAMP;
import static dev.dyad.engine.epoch.StandbyState.ARBITRATING;
import static dev.dyad.engine.epoch.StandbyState.CUT_OFF;
import static dev.dyad.engine.epoch.StandbyState.PROMOTED;
import static dev.dyad.engine.epoch.StandbyState.PROMOTING;
import static dev.dyad.engine.epoch.StandbyState.READY;
import static dev.dyad.engine.epoch.StandbyState.RECEIVING;
import static dev.dyad.engine.epoch.StandbyState.STOOD_DOWN;
import static dev.dyad.engine.epoch.StandbyState.STOPPED;
import static dev.dyad.engine.epoch.StandbyState.WAITING;

/**
 * The standby's half of the protocol: what counts as whole, what is acknowledged, and when this host may go on with the guest.
 *
 * <p>Pure, like {@link PrimaryProtocol}, whose head has the sequence of a protected guest and the argument for the lease. Whoever drives it has
 * checked that records parse, that their CRC is right and that an epoch's records add up to its seal.
 *
 * <pre>
 *   primary                       standby                              arbiter
 *     |  SEAL n ------------------> whole: report n, apply n              |
 *     |  part of n+1 -------------> staged                                |
 *     X  (dies)                     |                                     |
 *                                   | link lost, or silent for D          |
 *                                   | discardAfter(n); CUT_OFF            |
 *                                   | now - last receipt &gt;= D             |
 *                                   | ---- requestGeneration(g+1) ------->|
 *                                   | &lt;--------------------- granted -----|
 *                                   | applied n ?  promote(g+1, n)        |
 * </pre>
 *
 * <h2>Must never happen</h2>
 * <ul>
 *   <li>an acknowledgement of an epoch that is not whole, not the next one, or of another generation than the link's
 *   <li>an acknowledgement after this host has asked for promotion
 *   <li>a request for a generation without a whole epoch, or earlier than the detector's bound after the last receipt (a
 *       handover excepted: its primary has nothing left to release)
 *   <li>a promotion before every whole epoch is applied, or without having won
 *   <li>an apply of an epoch that is not whole, out of order, or while another one is under way
 *   <li>a goodbye before the state is given up
 *   <li>keeping state after a lost arbitration
 * </ul>
 */
public final class StandbyProtocol {
  private final EpochConfig config;
  private final StandbyActions actions;
  private final Watch watch;

  private StandbyState state = WAITING;
  private boolean broken;
  private boolean stopping;

  /** Of the link and of what is held. */
  private long generation;
  /** The newest one known to be won by anybody. */
  private long newestGeneration;

  private boolean asking;
  private long askAtNanos;

  private long link = NO_LINK;
  private long newestLink = NO_LINK;
  private long echoNanos = NO_STAMP;
  private long reportedNanos;

  private long baselineEpoch;
  private long wholeEpoch = NO_EPOCH;
  private long appliedEpoch = NO_EPOCH;
  private boolean applying;
  private long staleEvents;

  public StandbyProtocol(EpochConfig config, StandbyActions actions) {
    this.config = config;
    this.actions = actions;
    watch = new Watch(config.detectorNanos());
  }

  // ---- the link

  /**
   * A primary that holds {@code ofGeneration} is at the other end of {@code newLink}; the handshake is done and has shown that
   * it runs the same guest.
   *
   * @param baseline number of the epoch that its baseline will be sealed as
   */
  public void onConnected(long newLink, long ofGeneration, long baseline, long receivedNanos) {
    if (!enter(StandbyEvent.CONNECTED, receivedNanos)) {
      return;
    }
    require(newLink > newestLink, "links are numbered upwards");
    newestLink = newLink;
    if (ofGeneration < newestGeneration) {
      actions.endLink(newLink, LinkEnd.STALE_GENERATION);
      return;
    }
    switch (state) {
      case WAITING -> accept(newLink, ofGeneration, baseline, receivedNanos);
      case RECEIVING -> {
        // The primary has given the old link up before it made a new one.
        actions.endLink(newLink, LinkEnd.NOT_NOW);
        endLink(LinkEnd.SUPERSEDED);
        standDown(DropReason.BASELINE_INCOMPLETE);
      }
      case READY, CUT_OFF -> {
        actions.endLink(newLink, link == NO_LINK || ofGeneration > generation ? LinkEnd.NOT_NOW : LinkEnd.BUSY);
        if (ofGeneration > generation) {
          supersededBy(ofGeneration);
        }
      }
      case ARBITRATING -> {
        actions.endLink(newLink, LinkEnd.NOT_NOW);
        if (!asking && ofGeneration > generation) {
          supersededBy(ofGeneration);
        }
      }
      case PROMOTING, PROMOTED, STOOD_DOWN, STOPPED -> actions.endLink(newLink, LinkEnd.NOT_NOW);
    }
  }

  private void accept(long newLink, long ofGeneration, long baseline, long receivedNanos) {
    require(baseline > NO_EPOCH, "epochs are counted from 1");
    link = newLink;
    generation = ofGeneration;
    newestGeneration = ofGeneration;
    baselineEpoch = baseline;
    wholeEpoch = NO_EPOCH;
    appliedEpoch = NO_EPOCH;
    echoNanos = NO_STAMP;
    watch.heard(receivedNanos);
    become(RECEIVING);
    actions.acceptBaseline(link, generation, baseline);
    report(receivedNanos);
  }

  /**
   * Bytes of any kind came from the primary.
   *
   * @param receivedNanos read <em>after</em> the bytes were: a reading from before could be older than their sending, and the
   *     lease would not hold. The same goes for every {@code receivedNanos} here.
   */
  public void onHeard(long ofLink, long receivedNanos) {
    if (enter(ofLink, StandbyEvent.HEARD, receivedNanos)) {
      watch.heard(receivedNanos);
    }
  }

  /** A heartbeat came. */
  public void onStamp(long ofLink, long ofGeneration, long sendNanos, long receivedNanos) {
    if (!enter(ofLink, StandbyEvent.STAMP, receivedNanos)) {
      return;
    }
    watch.heard(receivedNanos);
    if (ofGeneration != generation) {
      cut(LinkEnd.WRONG_GENERATION);
      return;
    }
    echo(sendNanos);
    report(receivedNanos);
  }

  /** A seal came, and all records of its epoch are in this host's memory, verified. */
  public void onEpochWhole(long ofLink, long ofGeneration, long epoch, long sendNanos, long receivedNanos) {
    if (!enter(ofLink, StandbyEvent.EPOCH_WHOLE, receivedNanos)) {
      return;
    }
    watch.heard(receivedNanos);
    if (ofGeneration != generation) {
      cut(LinkEnd.WRONG_GENERATION);
      return;
    }
    if (epoch != (state == RECEIVING ? baselineEpoch : wholeEpoch + 1)) {
      cut(LinkEnd.EPOCH_GAP);
      return;
    }
    wholeEpoch = epoch;
    echo(sendNanos);
    if (state == RECEIVING) {
      appliedEpoch = epoch - 1;
      become(READY);
      actions.ready(epoch);
    }
    // With durability = disk, the acknowledgement of an epoch with a flush waits here for the write log.
    report(receivedNanos);
    applyNext();
  }

  /** The primary leaves, in order with everything it sent before. */
  public void onGoodbye(long ofLink, Goodbye goodbye, long epoch, long receivedNanos) {
    if (!enter(ofLink, StandbyEvent.GOODBYE, receivedNanos)) {
      return;
    }
    watch.heard(receivedNanos);
    switch (goodbye) {
      case DETACH -> standDown(DropReason.PRIMARY_LEFT);
      case HANDOVER -> {
        if (state != READY || epoch != wholeEpoch) {
          cut(LinkEnd.EPOCH_GAP);
          return;
        }
        // The link stays until the verdict: closing it now would make the primary ask as well.
        become(ARBITRATING);
        ask();
      }
    }
  }

  /** {@code ofLink} is closed, or was closed by this host because of {@code reason}. */
  public void onLinkLost(long ofLink, LinkEnd reason, long nowNanos) {
    if (enter(ofLink, StandbyEvent.LINK_LOST, nowNanos)) {
      link = NO_LINK;
      afterCut();
    }
  }

  // ---- replica and time

  /** {@code epoch} is applied to the replica. */
  public void onApplied(long epoch, long nowNanos) {
    if (!enter(StandbyEvent.APPLIED, nowNanos)) {
      return;
    }
    require(applying && epoch == appliedEpoch + 1, "applied is not what was asked for");
    applying = false;
    boolean withheld = reportableEpoch() < wholeEpoch;
    appliedEpoch = epoch;
    if (withheld && state == READY) {
      report(nowNanos);
    }
    if (state != STOOD_DOWN) {
      applyNext();
      promoteWhenApplied();
    }
  }

  /** Nothing is held any more. */
  public void onReplicaDropped(long nowNanos) {
    if (!enter(StandbyEvent.REPLICA_DROPPED, nowNanos)) {
      return;
    }
    require(!applying, "the replica was dropped under an apply");
    wholeEpoch = NO_EPOCH;
    appliedEpoch = NO_EPOCH;
    if (link != NO_LINK) {
      actions.sayGoodbye(link);
      endLink(LinkEnd.GOODBYE);
    }
    if (stopping) {
      become(STOPPED);
      actions.stopped();
    } else {
      become(WAITING);
    }
  }

  /** Time goes by; at least every {@link EpochConfig#heartbeatNanos}, or after {@link #nanosUntilTick}. */
  public void onTick(long nowNanos) {
    if (!enter(StandbyEvent.TICK, nowNanos)) {
      return;
    }
    if (state == ARBITRATING) {
      if (!asking && nowNanos - askAtNanos >= 0) {
        ask();
      }
      return;
    }
    boolean silent = watch.silentNanos(nowNanos) >= silenceNanosMax();
    if (silent && link != NO_LINK) {
      cut(LinkEnd.SILENT);
    }
    if (silent && state == CUT_OFF) {
      become(ARBITRATING);
      ask();
    } else if (link != NO_LINK && nowNanos - reportedNanos >= config.heartbeatNanos()) {
      report(nowNanos);
    }
  }

  // ---- the arbiter

  /** {@code won} is this host's. */
  public void onGranted(long won, long nowNanos) {
    if (!enterVerdict(StandbyEvent.GRANTED, won, nowNanos)) {
      return;
    }
    generation = won;
    newestGeneration = won;
    become(PROMOTING);
    endLink(LinkEnd.PROMOTED);
    promoteWhenApplied();
  }

  /** Somebody else holds {@code lost} or a later generation. */
  public void onDenied(long lost, long nowNanos) {
    if (!enterVerdict(StandbyEvent.DENIED, lost, nowNanos)) {
      return;
    }
    newestGeneration = lost;
    endLink(LinkEnd.SUPERSEDED);
    standDown(DropReason.LOST_ARBITRATION);
  }

  /** The arbiter gave no answer about {@code asked}. */
  public void onArbiterUnreachable(long asked, long nowNanos) {
    if (enterVerdict(StandbyEvent.UNREACHABLE, asked, nowNanos)) {
      askAtNanos = nowNanos + config.askAgainNanos();
    }
  }

  // ---- how it ends

  /**
   * This standby shall stop; done with {@link StandbyActions#stopped}. When the primary may be dead already, the arbiter
   * decides first: if the guest goes on here, the stop is void.
   */
  public void onStop(long nowNanos) {
    if (!enter(StandbyEvent.STOP, nowNanos)) {
      return;
    }
    stopping = true;
    switch (state) {
      case WAITING -> {
        become(STOPPED);
        actions.stopped();
      }
      case RECEIVING, READY -> standDown(DropReason.STANDBY_LEAVES);
      default -> {}
    }
  }

  // ---- what can be asked

  public StandbyState state() {
    return state;
  }

  public long generation() {
    return generation;
  }

  /** The newest whole epoch, {@link PrimaryProtocol#NO_EPOCH} when there is none. */
  public long wholeEpoch() {
    return wholeEpoch;
  }

  public long appliedEpoch() {
    return appliedEpoch;
  }

  /** The link in use, or {@link PrimaryProtocol#NO_LINK}. */
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
    if (state == ARBITRATING) {
      wait = asking ? wait : Math.min(wait, askAtNanos - nowNanos);
    } else if (state == RECEIVING || state == READY || state == CUT_OFF) {
      wait = Math.min(wait, silenceNanosMax() - watch.silentNanos(nowNanos));
      if (link != NO_LINK) {
        wait = Math.min(wait, reportedNanos + config.heartbeatNanos() - nowNanos);
      }
    }
    return Math.max(0, wait);
  }

  // ---- inside

  private long silenceNanosMax() {
    return state == RECEIVING ? config.syncingDetectorNanos() : config.detectorNanos();
  }

  private void echo(long sendNanos) {
    if (echoNanos == NO_STAMP || sendNanos - echoNanos > 0) {
      echoNanos = sendNanos;
    }
  }

  private void report(long nowNanos) {
    reportedNanos = nowNanos;
    actions.report(link, generation, reportableEpoch(), echoNanos);
  }

  /** What is whole, less what would make the backlog of epochs to be applied too long. */
  private long reportableEpoch() {
    return Math.min(wholeEpoch, appliedEpoch + EpochConfig.APPLY_BACKLOG_EPOCHS_MAX);
  }

  private void applyNext() {
    if (!applying && appliedEpoch < wholeEpoch) {
      applying = true;
      actions.apply(appliedEpoch + 1);
    }
  }

  private void promoteWhenApplied() {
    if (state == PROMOTING && appliedEpoch == wholeEpoch) {
      become(PROMOTED);
      actions.promote(generation, wholeEpoch);
    }
  }

  private void ask() {
    asking = true;
    actions.requestGeneration(generation + 1);
  }

  /** The peer is silent or wrong: this host ends the link. */
  private void cut(LinkEnd reason) {
    endLink(reason);
    afterCut();
  }

  private void endLink(LinkEnd reason) {
    if (link != NO_LINK) {
      actions.endLink(link, reason);
      link = NO_LINK;
    }
  }

  private void afterCut() {
    if (state == RECEIVING) {
      standDown(DropReason.BASELINE_INCOMPLETE);
    } else if (state == READY) {
      actions.discardAfter(wholeEpoch);
      become(CUT_OFF);
    }
  }

  private void supersededBy(long newer) {
    newestGeneration = newer;
    endLink(LinkEnd.SUPERSEDED);
    standDown(DropReason.SUPERSEDED);
  }

  private void standDown(DropReason reason) {
    become(STOOD_DOWN);
    actions.dropReplica(reason);
  }

  private void become(StandbyState next) {
    require(state.mayBecome(next), "not in the table of transitions");
    state = next;
  }

  private boolean enter(long ofLink, StandbyEvent event, long nowNanos) {
    require(ofLink > NO_LINK && ofLink <= newestLink, "a link nobody has heard of");
    if (ofLink != link) {
      staleEvents++;
      return false;
    }
    return enter(event, nowNanos);
  }

  private boolean enterVerdict(StandbyEvent event, long ofGeneration, long nowNanos) {
    if (!enter(event, nowNanos)) {
      return false;
    }
    require(asking && ofGeneration == generation + 1, "a verdict nobody asked for");
    asking = false;
    return true;
  }

  private boolean enter(StandbyEvent event, long nowNanos) {
    require(!broken, "the last event was a violation");
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
    throw new ProtocolViolation("standby in " + state + ", generation " + generation + ", epoch " + wholeEpoch + ": " + what);
  }
}
