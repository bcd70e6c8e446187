package dev.dyad.engine.epoch;

/** What an event means in a state; every pair of both is one of these. */
enum Reaction {
  /** The event does something, if only to refuse. */
  ACTS('A'),
  /** It came too late or too early to matter, as it may between threads and hosts; nothing happens. */
  IGNORED('.'),
  /** It cannot happen unless this host's own code is wrong. */
  VIOLATION('!');

  private static final Reaction[] ALL = values();

  private final char sign;

  Reaction(char sign) {
    this.sign = sign;
  }

  /** Parses a row of a table, one sign for each state in its order. */
  static Reaction[] row(String signs, int states) {
    if (signs.length() != states) {
      throw new IllegalArgumentException("row " + signs + " has " + signs.length() + " signs for " + states + " states");
    }
    Reaction[] row = new Reaction[states];
    for (int i = 0; i < states; i++) {
      for (Reaction reaction : ALL) {
        if (reaction.sign == signs.charAt(i)) {
          row[i] = reaction;
        }
      }
      if (row[i] == null) {
        throw new IllegalArgumentException("row " + signs + " has a sign that means nothing: " + signs.charAt(i));
      }
    }
    return row;
  }
}
