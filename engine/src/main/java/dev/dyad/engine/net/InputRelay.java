package dev.dyad.engine.net;

import dev.dyad.bindings.linux.Mapping;

/**
 * Takes what the outside sends to the guest, where its NIC hangs on a socket of ours. Input is never held and asks no gate: the
 * guest may see anything at any time, its sender repeats what an abandoned epoch forgot.
 *
 * <p>Net thread only.
 */
public final class InputRelay implements AutoCloseable {
  private static final long CAPACITY_BYTES = 512 * 1024;
  private static final int ROUNDS_MAX = 64;

  private final PacketPort outside;
  private final PacketPort guest;
  private final Mapping ring = Mapping.mirrored(CAPACITY_BYTES);
  private final Count relayedBytes = new Count();
  private long head;
  private long tail;
  private boolean outsideOpen = true;
  private boolean guestOpen = true;

  public InputRelay(PacketPort outside, PacketPort guest) {
    if (outside.prefixBytes() != guest.prefixBytes()) {
      throw new IllegalArgumentException("wire forms differ: " + outside.prefixBytes() + " and " + guest.prefixBytes());
    }
    this.outside = outside;
    this.guest = guest;
  }

  /** Moves what is there, bounded so that output is not kept waiting. */
  public void pump() {
    for (int round = 0; round < ROUNDS_MAX; round++) {
      long got = receive();
      send();
      if (got <= 0) {
        return;
      }
    }
  }

  private long receive() {
    if (!wantsInput()) {
      return 0;
    }
    long got = outside.receive(at(tail), CAPACITY_BYTES - (tail - head));
    if (got < 0) {
      outsideOpen = false;
    } else {
      tail += got;
    }
    return got;
  }

  private void send() {
    while (guestOpen && head < tail) {
      long sent = guest.send(at(head), tail - head);
      if (sent < 0) {
        guestOpen = false;
      } else if (sent == PacketPort.AGAIN) {
        return;
      } else {
        head += sent;
        relayedBytes.add(sent);
      }
    }
    if (!guestOpen) {
      head = tail;
    }
  }

  private long at(long position) {
    return ring.hostVirt() + (position & (CAPACITY_BYTES - 1));
  }

  /** Whether to wait for {@code outside.receiveFd()}. */
  boolean wantsInput() {
    return outsideOpen && CAPACITY_BYTES - (tail - head) >= PacketPort.WIRE_FRAME_BYTES_MAX;
  }

  /** Whether to wait for {@code guest.sendFd()}. */
  boolean wantsRoom() {
    return guestOpen && head < tail;
  }

  int inputFd() {
    return outside.receiveFd();
  }

  int roomFd() {
    return guest.sendFd();
  }

  public long relayedBytes() {
    return relayedBytes.get();
  }

  @Override
  public void close() {
    ring.close();
  }
}
