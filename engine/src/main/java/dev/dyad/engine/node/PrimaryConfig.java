package dev.dyad.engine.node;

import dev.dyad.engine.epoch.EpochConfig;
import java.net.SocketAddress;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * What a primary is told by its operator.
 *
 * @param name of the guest: names status, generation file and markers on this host
 * @param standby where the standby listens
 * @param key file with the shared key, or none (loopback only)
 * @param generationFile the arbiter's file, shared by both sides of a pair on one host
 * @param epochs the protocol's bounds
 * @param ringBytes size of the staging ring, a power of two
 * @param snapshotPages pages that one pause copies; a larger epoch is shipped in part while the guest is paused
 * @param deltaCacheBytes memory for last-sent versions of pages, from which deltas are made
 * @param busyPoll whether the epoch thread spins instead of sleeping
 * @param core the core to pin the epoch thread to, −1 for none
 */
public record PrimaryConfig(
    String name,
    SocketAddress standby,
    @Nullable Path key,
    Path generationFile,
    EpochConfig epochs,
    long ringBytes,
    int snapshotPages,
    long deltaCacheBytes,
    boolean busyPoll,
    int core) {

  public static final long RING_BYTES = 64L << 20;
  public static final int SNAPSHOT_PAGES = 16_384;
  public static final long DELTA_CACHE_BYTES = 128L << 20;
}
