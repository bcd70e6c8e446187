package dev.dyad.engine.link;

import dev.dyad.bindings.linux.SocketAddress;
import java.net.InetAddress;

/** Where one may listen: without a key only where nobody from outside of this host can come. */
public final class ListenPolicy {
  private ListenPolicy() {}

  /**
   * @param at where to listen
   * @param hasKey whether peers must prove that they know a key
   * @throws IllegalArgumentException with the line for the user
   */
  public static void check(SocketAddress at, boolean hasKey) {
    if (hasKey || !at.isInet()) {
      return; // who may connect to a unix socket is checked when it does: PeerListener
    }
    InetAddress address = at.toInet().getAddress();
    if (!address.isLoopbackAddress()) {
      throw new IllegalArgumentException(
          "listening on "
              + at
              + " without a key would give the guest to whoever reaches that address: needed is a key file (--key FILE) or a loopback address such as 127.0.0.1:"
              + at.toInet().getPort());
    }
  }
}
