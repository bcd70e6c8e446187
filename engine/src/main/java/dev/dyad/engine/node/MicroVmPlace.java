package dev.dyad.engine.node;

import dev.dyad.bindings.linux.SocketAddress;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * What one host gives a microVM: its way outside, where its console goes, which memory, how its epochs are made.
 *
 * @param udp where clients reach one UDP port of the guest; null with {@code tap}, or for where they did on the other host
 * @param tap name of the TAP that is the guest's network card; null: only UDP
 * @param console file that what the guest prints is appended to; null: nowhere
 * @param hugePages guest memory from this host's pool of 2 MiB pages
 * @param tuning of its epochs here
 */
public record MicroVmPlace(@Nullable SocketAddress udp, @Nullable String tap, @Nullable Path console, boolean hugePages, MicroVmTuning tuning) {
  /** With the usual epochs. */
  public MicroVmPlace(@Nullable SocketAddress udp, @Nullable String tap, @Nullable Path console, boolean hugePages) {
    this(udp, tap, console, hugePages, MicroVmTuning.USUAL);
  }

  public static MicroVmPlace udp(SocketAddress udp) {
    return new MicroVmPlace(udp, null, null, false);
  }
}
