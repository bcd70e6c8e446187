package dev.dyad.engine.epoch.sim;

/**
 * A reply of the guest's service.
 *
 * @param connection the client's connection
 * @param sequence number of the operation on that connection; 0 says that the guest does not know the connection's past (a reset)
 * @param version place of the operation in the service's one history
 * @param chain hash over the history up to there
 * @param result what was read, or the value before the write
 */
record Packet(int connection, long sequence, long version, long chain, long result) {}
