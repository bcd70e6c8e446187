package dev.dyad.engine.disk;

/**
 * Bounds of the mirror, the same on both sides.
 *
 * @param requests requests of the guest that may wait or run
 * @param pieceBytes what levelling reads and sends at once
 * @param resyncBytesPerSecond bound of levelling, {@link Long#MAX_VALUE} for none
 * @param checkpointNanos how often both disks are flushed so that marks can be taken back
 * @param stallNanosMax a standby's disk that makes no room for this long is given up
 * @param durable whether an epoch in which the guest flushed counts only when both disks have it; else the standby's memory will do:
 *     a loss of power on both hosts then takes the standby's last epochs, and the primary's disk is the one to go on from
 * @param logMemoryBytes of the standby: room for epochs that are open or not applied; beyond it they go to the log device
 * @param logEntries of the standby: bound on writes in it
 * @param applyDepth of the standby: writes to the image in flight
 */
public record MirrorConfig(
    int requests,
    int pieceBytes,
    long resyncBytesPerSecond,
    long checkpointNanos,
    long stallNanosMax,
    boolean durable,
    long logMemoryBytes,
    int logEntries,
    int applyDepth) {

  public static final MirrorConfig DEFAULT =
      new MirrorConfig(256, 256 << 10, Long.MAX_VALUE, 1_000_000_000L, 5_000_000_000L, false, 64L << 20, 1 << 16, 64);

  public MirrorConfig withDurable(boolean value) {
    return new MirrorConfig(
        requests, pieceBytes, resyncBytesPerSecond, checkpointNanos, stallNanosMax, value, logMemoryBytes, logEntries, applyDepth);
  }

  public MirrorConfig withResyncRate(long bytesPerSecond) {
    return new MirrorConfig(
        requests, pieceBytes, bytesPerSecond, checkpointNanos, stallNanosMax, durable, logMemoryBytes, logEntries, applyDepth);
  }
}
