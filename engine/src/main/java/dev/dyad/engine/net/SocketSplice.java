package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.EBUSY;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_STREAM;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.bindings.linux.Tap;
import java.nio.file.Path;
import java.util.concurrent.locks.LockSupport;

/**
 * A NIC that was started for us: {@code -netdev stream} or {@code dgram} on a unix socket, with this process between it and a TAP.
 *
 * <pre>
 *   guest NIC --- QEMU's socket --tx--&gt; HeldOutput ... release --&gt; TAP --- world
 *                               &lt;--rx-- InputRelay              &lt;--
 * </pre>
 *
 * <p>When this process dies nothing carries the frames any more, in either direction: an orphan is cut off without anybody's doing. QEMU
 * listens again, and another process can take the place.
 *
 * <p>Control thread. Owns both ports and the relay.
 */
public final class SocketSplice implements NicSplice {
  private static final int PREFIX_BYTES = 4;

  /** A former carrier of the same guest lets go of the TAP within this time. */
  private static final long TAP_NANOS_MAX = 3_000_000_000L;

  private final PacketPort guest;
  private final TapPort outside;
  private final InputRelay input;

  private SocketSplice(PacketPort guest, TapPort outside) {
    this.guest = guest;
    this.outside = outside;
    this.input = new InputRelay(outside, guest);
  }

  /**
   * Takes the TAP first, QEMU's socket second: who gives both up does it the other way round, so two never carry for one NIC.
   *
   * @param netdev its id, for messages
   * @param qemuPid nobody else may be at the other end of a stream
   * @throws IllegalStateException with one line, everything undone, when one of them is not to be had
   */
  public static SocketSplice open(String netdev, NicSocket socket, int qemuPid, String tapName) {
    TapPort tap = new TapPort(openTap(netdev, tapName));
    try {
      Path ours = socket.ours();
      PacketPort guest = ours == null ? connect(netdev, socket.qemu(), qemuPid) : new DgramPort(ours, socket.qemu());
      return new SocketSplice(guest, tap);
    } catch (RuntimeException e) {
      tap.close();
      throw e;
    }
  }

  private static Tap openTap(String netdev, String name) {
    if (!Tap.exists(name)) { // opening it would make a TAP that hangs on nothing
      throw new IllegalStateException(
          "network " + netdev + ": there is no TAP " + name + " here; make it: ip tuntap add dev " + name + " mode tap, then add it to your bridge and set it up");
    }
    long end = System.nanoTime() + TAP_NANOS_MAX;
    while (true) {
      try {
        Tap tap = Tap.open(name);
        tap.withoutOffload();
        return tap;
      } catch (NativeException e) {
        if (e.errno() != EBUSY() || System.nanoTime() > end) {
          String why = e.errno() == EBUSY() ? "is in use by another process" : "cannot be opened: " + e.getMessage();
          throw new IllegalStateException("network " + netdev + ": TAP " + name + " " + why, e);
        }
      }
      LockSupport.parkNanos(10_000_000);
    }
  }

  private static StreamPort connect(String netdev, Path path, int qemuPid) {
    FileDescriptor socket;
    try {
      socket = Sockets.connect(SocketAddress.unix(path.toString()), SOCK_STREAM());
    } catch (NativeException e) {
      throw new IllegalStateException("network " + netdev + ": QEMU's socket " + path + " does not answer: " + e.getMessage(), e);
    }
    int peer = Sockets.peerCredentials(socket.fd()).pid();
    if (peer != qemuPid) {
      socket.close();
      throw new IllegalStateException("network " + netdev + ": process " + peer + " listens at " + path + " in place of QEMU (process " + qemuPid + ")");
    }
    return new StreamPort(socket, PREFIX_BYTES);
  }

  /** Throws away what came to the TAP while nobody carried. */
  public void dropStale() {
    try (Mapping room = Mapping.anonymous(PacketPort.WIRE_FRAME_BYTES_MAX)) {
      long got;
      do {
        got = outside.receive(room.hostVirt(), room.bytes());
      } while (got > 0);
    }
  }

  @Override
  public PacketPort guest() {
    return guest;
  }

  @Override
  public PacketPort outside() {
    return outside;
  }

  @Override
  public InputRelay input() {
    return input;
  }

  /** QEMU keeps what its socket does not take, and its guest runs on. */
  @Override
  public boolean blocksGuest() {
    return false;
  }

  /** Nothing to do: every frame comes here since the connection. */
  @Override
  public void engage() {}

  /** Nothing to give it back to. */
  @Override
  public void disengage(HeldOutput output) {}

  @Override
  public void close() {
    guest.close();
    outside.close();
    input.close();
  }
}
