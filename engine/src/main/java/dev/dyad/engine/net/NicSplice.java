package dev.dyad.engine.net;

import org.jspecify.annotations.Nullable;

/**
 * Where this process stands in the wire between a NIC of the guest and the outside: in a running QEMU by redirection ({@link RedirectorPair}),
 * or because the NIC hangs on a socket of ours from the start ({@link SocketSplice}).
 *
 * <p>Control thread.
 */
public sealed interface NicSplice extends AutoCloseable permits RedirectorPair, SocketSplice {

  /** Where the guest's frames come from: the input of a {@link HeldOutput}. */
  PacketPort guest();

  /** Where released frames go: its output. */
  PacketPort outside();

  /** Carries what comes from outside to the guest; null where the guest's own back end does that. Ours to close. */
  @Nullable InputRelay input();

  /** Whether a guest whose frames are not read stands still as a whole, its monitor included. */
  boolean blocksGuest();

  /** From its return on every frame comes to {@link #guest}. The net thread is reading it, the output is passing. */
  void engage();

  /**
   * Gives the NIC back after protection has ended, as far as there is something to give it back to.
   *
   * @param output passing ({@link HeldOutput#pass}), its net thread running
   */
  void disengage(HeldOutput output);

  @Override
  void close();
}
