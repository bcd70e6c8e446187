package dev.dyad.engine.epoch;

import java.util.EnumSet;
import java.util.Set;

/**
 * States of {@link StandbyProtocol}.
 *
 * <pre>
 *  state        link        holds a whole epoch   may ask for promotion
 *  WAITING      none        no                    no
 *  RECEIVING    up          no                    no
 *  READY        up          yes                   after silence of the detector's bound, or a handover
 *  CUT_OFF      none        yes                   when the silence has lasted for the detector's bound
 *  ARBITRATING  handover's  yes                   asks
 *  PROMOTING    none        yes                   has won, applies what is whole
 *  PROMOTED     none        it runs here          is the primary now
 *  STOOD_DOWN   goodbye's   no, is giving it up   no
 *  STOPPED      none        no                    no
 * </pre>
 */
public enum StandbyState {
  /** Holds nothing, takes any primary whose generation is not older than the newest known. */
  WAITING,
  /** The baseline comes in. */
  RECEIVING,
  /** At least one epoch is whole. */
  READY,
  /** The link is gone; waits until the primary's right to release has certainly ended. */
  CUT_OFF,
  /** Asks the arbiter for the next generation. */
  ARBITRATING,
  /** Won it; whole epochs are still being applied. */
  PROMOTING,
  /** The guest runs here. Final: this host is a primary from now on. */
  PROMOTED,
  /** Gives up what it holds. */
  STOOD_DOWN,
  /** Over. Final. */
  STOPPED;

  private static final Set<StandbyState>[] NEXT = table();

  @SuppressWarnings({"unchecked", "rawtypes"})
  private static Set<StandbyState>[] table() {
    Set<StandbyState>[] next = new Set[values().length];
    next[WAITING.ordinal()] = EnumSet.of(RECEIVING, STOPPED);
    next[RECEIVING.ordinal()] = EnumSet.of(READY, STOOD_DOWN);
    next[READY.ordinal()] = EnumSet.of(CUT_OFF, ARBITRATING, STOOD_DOWN);
    next[CUT_OFF.ordinal()] = EnumSet.of(ARBITRATING, STOOD_DOWN);
    next[ARBITRATING.ordinal()] = EnumSet.of(PROMOTING, STOOD_DOWN);
    next[PROMOTING.ordinal()] = EnumSet.of(PROMOTED);
    next[PROMOTED.ordinal()] = EnumSet.noneOf(StandbyState.class);
    next[STOOD_DOWN.ordinal()] = EnumSet.of(WAITING, STOPPED);
    next[STOPPED.ordinal()] = EnumSet.noneOf(StandbyState.class);
    return next;
  }

  /** Whether the step from here to {@code next} is in the table. */
  public boolean mayBecome(StandbyState next) {
    return NEXT[ordinal()].contains(next);
  }

  /** Whether this host may go on with the guest, now or after asking. */
  public boolean holdsWholeEpoch() {
    return this == READY || this == CUT_OFF || this == ARBITRATING || this == PROMOTING;
  }
}
