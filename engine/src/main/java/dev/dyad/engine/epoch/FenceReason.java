package dev.dyad.engine.epoch;

/** Why a primary stopped its guest for good. */
public enum FenceReason {
  /** The generation it needed to start is another host's. */
  DENIED_AT_START,
  /** The peer was lost, and somebody else won the next generation. */
  LOST_ARBITRATION,
  /** The standby went on after a handover. */
  HANDED_OVER
}
