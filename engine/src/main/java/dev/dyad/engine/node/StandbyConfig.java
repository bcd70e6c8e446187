package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import org.jspecify.annotations.Nullable;

/**
 * What a standby is told by its operator.
 *
 * @param listen where the primary connects; a unix socket means shared memory
 * @param key what both hosts know, or none (loopback and unix sockets only)
 * @param epochs the protocol's bounds; period and window are the primary's business
 * @param ringBytesMax bound of the staging ring
 * @param busyPoll whether the epoch thread spins instead of sleeping
 * @param core the core to pin the epoch thread to, −1 for none
 * @param link over what to replicate
 */
public record StandbyConfig(
    SocketAddress listen, @Nullable SharedKey key, EpochConfig epochs, long ringBytesMax, boolean busyPoll, int core, LinkConfig link) {

  /** Over what the two hosts have. */
  public StandbyConfig(SocketAddress listen, @Nullable SharedKey key, EpochConfig epochs, long ringBytesMax, boolean busyPoll, int core) {
    this(listen, key, epochs, ringBytesMax, busyPoll, core, LinkConfig.standard());
  }
}
