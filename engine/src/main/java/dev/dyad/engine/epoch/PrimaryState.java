package dev.dyad.engine.epoch;

import java.util.EnumSet;
import java.util.Set;

/**
 * States of {@link PrimaryProtocol}.
 *
 * <pre>
 *  state         guest     output                       standby may hold a whole epoch
 *  NEW           -         -                            no
 *  STARTING      -         as it was before             perhaps, of an earlier generation
 *  ALONE         runs      passes                       no
 *  SYNCING       runs      passes                       no
 *  JOINING       runs      held per epoch               yes, from the seal of the baseline on
 *  PROTECTED     runs      held per epoch               yes
 *  LEAVING       runs      held until standby gave up   yes
 *  HANDING_OVER  stops     held per epoch               yes
 *  ARBITRATING   bounded   held                         yes
 *  FENCED        stopped   discarded                    (it runs there)
 *  STOPPED       runs      passes, no longer our matter no
 * </pre>
 */
public enum PrimaryState {
  /** Made, not started. */
  NEW,
  /** Wants the generation under which the guest may run here. */
  STARTING,
  /** The guest runs unprotected under a generation of this host's. */
  ALONE,
  /** A standby receives the baseline. */
  SYNCING,
  /** The baseline is sealed, its acknowledgement awaited. */
  JOINING,
  /** The standby holds at least the baseline. */
  PROTECTED,
  /** A goodbye was sent; the standby's answer that it gave up its state is awaited. */
  LEAVING,
  /** The guest is being stopped at an epoch from which the standby shall go on. */
  HANDING_OVER,
  /** The peer is lost and may hold a whole epoch: the arbiter decides. */
  ARBITRATING,
  /** Another host goes on. Final. */
  FENCED,
  /** Detached. Final. */
  STOPPED;

  private static final Set<PrimaryState>[] NEXT = table();

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static Set<PrimaryState>[] table() {
    Set<PrimaryState>[] next = new Set[values().length];
    next[NEW.ordinal()] = EnumSet.of(STARTING, ALONE);
    next[STARTING.ordinal()] = EnumSet.of(ALONE, FENCED, STOPPED);
    next[ALONE.ordinal()] = EnumSet.of(SYNCING, STOPPED);
    next[SYNCING.ordinal()] = EnumSet.of(JOINING, ALONE, STOPPED);
    next[JOINING.ordinal()] = EnumSet.of(PROTECTED, ARBITRATING, LEAVING, ALONE);
    next[PROTECTED.ordinal()] = EnumSet.of(ARBITRATING, LEAVING, HANDING_OVER, ALONE);
    next[LEAVING.ordinal()] = EnumSet.of(ARBITRATING, STOPPED);
    next[HANDING_OVER.ordinal()] = EnumSet.of(ARBITRATING, ALONE);
    next[ARBITRATING.ordinal()] = EnumSet.of(ALONE, FENCED, STOPPED);
    next[FENCED.ordinal()] = EnumSet.noneOf(PrimaryState.class);
    next[STOPPED.ordinal()] = EnumSet.noneOf(PrimaryState.class);
    return next;
  }

  /** Whether the step from here to {@code next} is in the table. */
  public boolean mayBecome(PrimaryState next) {
    return NEXT[ordinal()].contains(next);
  }

  /** Whether a standby is attached in this state. */
  public boolean hasLink() {
    return this == SYNCING || holdsPerEpoch() || this == LEAVING || this == HANDING_OVER;
  }

  /** Whether epochs are ended, shipped and released in this state. */
  public boolean holdsPerEpoch() {
    return this == JOINING || this == PROTECTED;
  }
}
