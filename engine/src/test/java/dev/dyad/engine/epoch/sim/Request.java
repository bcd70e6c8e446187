package dev.dyad.engine.epoch.sim;

/**
 * An operation of the client.
 *
 * @param write whether {@code value} is stored under {@code key}; else the key is read
 */
record Request(int connection, long sequence, boolean write, int key, long value) {

  /** The next link of the history's hash. */
  static long chain(long before, Request op, long version) {
    long h = SimGuest.mix(before, op.connection() * 31L + op.key());
    h = SimGuest.mix(h, op.sequence() * 2 + (op.write() ? 1 : 0));
    return SimGuest.mix(h, op.value() + version);
  }
}
