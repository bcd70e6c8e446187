package dev.dyad.engine.epoch;

/** Why the guest is not protected at present. */
public enum Unprotected {
  /** No standby has come yet. */
  NO_STANDBY_YET,
  /** The guest has just gone on at this host after the loss of the other one. */
  TOOK_OVER,
  /** The standby is dead, silent, cut off or wrong; {@link LinkEnd} says which. */
  STANDBY_LOST,
  /** The standby said goodbye. */
  STANDBY_LEFT
}
