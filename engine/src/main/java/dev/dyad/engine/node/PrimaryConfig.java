package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import org.jspecify.annotations.Nullable;

/**
 * What a primary is told by its operator.
 *
 * @param name of the guest: names status and generation file on this host
 * @param identity of the running instance of the guest, equal for as long as it lives: what the arbiter knows it by
 * @param standby where the standby listens; a unix socket means shared memory; null: none is looked for
 * @param key what both hosts know, or none (loopback and unix sockets only)
 * @param epochs the protocol's bounds
 * @param ringBytes size of the staging ring, a power of two
 * @param snapshotPages pages that one pause copies; a larger epoch is shipped in part while the guest is paused
 * @param deltaCacheBytes memory for last-sent versions of pages, from which deltas are made
 * @param busyPoll whether the epoch thread spins instead of sleeping
 * @param core the core to pin the epoch thread to, −1 for none
 * @param link over what to replicate
 * @param earlyNanos during an epoch, pages are looked for and shipped each time this has passed; 0: only at its end
 */
public record PrimaryConfig(
    String name,
    String identity,
    @Nullable SocketAddress standby,
    @Nullable SharedKey key,
    EpochConfig epochs,
    long ringBytes,
    int snapshotPages,
    long deltaCacheBytes,
    boolean busyPoll,
    int core,
    LinkConfig link,
    long earlyNanos) {

  public static final long RING_BYTES = 64L << 20;
  public static final int SNAPSHOT_PAGES = 16_384;
  public static final long DELTA_CACHE_BYTES = 128L << 20;
}
