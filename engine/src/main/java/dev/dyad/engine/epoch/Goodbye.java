package dev.dyad.engine.epoch;

/** What a primary means by its goodbye. (A standby's goodbye has one meaning: it has given up its state.) */
public enum Goodbye {
  /** Protection ends, the guest stays: the standby must give up its state, answer with a goodbye and never promote. */
  DETACH,
  /** The guest was stopped at the given epoch: the standby shall win the next generation and go on from there. */
  HANDOVER
}
