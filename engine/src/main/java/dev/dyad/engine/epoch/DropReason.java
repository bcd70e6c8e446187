package dev.dyad.engine.epoch;

/** Why a standby gives up what it holds. */
public enum DropReason {
  /** The link ended before the baseline was whole. If the primary is dead, the guest cannot go on here: a double failure. */
  BASELINE_INCOMPLETE,
  /** Somebody else holds the next generation. If that host is dead as well, the guest cannot go on here: a double failure. */
  LOST_ARBITRATION,
  /** A primary of a newer generation came: what is held here is older than what runs there. */
  SUPERSEDED,
  /** The primary ended protection and keeps the guest. */
  PRIMARY_LEFT,
  /** This standby was told to stop. */
  STANDBY_LEAVES
}
