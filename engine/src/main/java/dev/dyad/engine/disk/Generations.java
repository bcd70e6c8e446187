package dev.dyad.engine.disk;

import java.util.Arrays;

/**
 * What the data of a disk is, in identifiers: two disks with the same {@code current} hold the same but for marked blocks.
 *
 * <p>A side that goes on alone takes a new {@code current} and remembers the old one as {@code base}: its marks are relative to that.
 * Levelling gives both the same {@code current} again. A pure value; who may go on alone is not decided here.
 *
 * @param current what the data is now; 0 when nothing was ever there
 * @param base what it was when the other side was lost, 0 while level
 * @param history older ones, newest first, {@link #HISTORY} of them, 0 where there is none
 */
public record Generations(long current, long base, long[] history) {
  public static final int HISTORY = 4;
  public static final Generations NONE = new Generations(0, 0, new long[HISTORY]);

  /** What a primary does with a disk that comes to it. */
  public enum Relation {
    /** Never held anything: copy all. */
    FRESH,
    /** Holds what this side held when they parted: copy what either marked. */
    DIFFERENCES,
    /** Holds something older than the marks reach back to: compare all. */
    OLDER,
    /** Went on after this side: this side must not be the primary. */
    AHEAD,
    /** Both went on alone from the same point: a person decides. */
    DIVERGED,
    /** Nothing in common. */
    FOREIGN
  }

  static Generations first(long identifier) {
    return new Generations(identifier, 0, new long[HISTORY]);
  }

  /** After going on alone with {@code identifier}. */
  Generations alone(long identifier) {
    long[] older = new long[HISTORY];
    older[0] = current;
    System.arraycopy(history, 0, older, 1, HISTORY - 1);
    return new Generations(identifier, base != 0 ? base : current, older);
  }

  /** After the other side became level. */
  Generations level() {
    return new Generations(current, 0, history);
  }

  /** What {@code peer} is to this primary. */
  Relation relationTo(Generations peer) {
    if (peer.current == 0) {
      return Relation.FRESH;
    }
    if (peer.current == current) {
      return Relation.DIFFERENCES;
    }
    if (peer.base != 0 && peer.base == current) {
      return Relation.AHEAD;
    }
    if (base != 0 && peer.current == base && peer.base == 0) {
      return Relation.DIFFERENCES;
    }
    if (base != 0 && peer.base == base) {
      return Relation.DIVERGED;
    }
    boolean peerIsOlder = contains(history, peer.current);
    boolean peerIsNewer = contains(peer.history, current);
    if (peerIsOlder && peer.base == 0) {
      return Relation.OLDER;
    }
    if (peerIsNewer) {
      return Relation.AHEAD;
    }
    boolean common = peerIsOlder;
    for (long older : history) {
      common |= older != 0 && contains(peer.history, older);
    }
    return common ? Relation.DIVERGED : Relation.FOREIGN;
  }

  private static boolean contains(long[] identifiers, long identifier) {
    for (long each : identifiers) {
      if (each != 0 && each == identifier) {
        return true;
      }
    }
    return false;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Generations(long otherCurrent, long otherBase, long[] otherHistory)
        && current == otherCurrent
        && base == otherBase
        && Arrays.equals(history, otherHistory);
  }

  @Override
  public int hashCode() {
    return Long.hashCode(current * 31 + base);
  }

  @Override
  public String toString() {
    return Long.toHexString(current) + (base != 0 ? " since " + Long.toHexString(base) : "");
  }
}
