package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.EAGAIN;
import static dev.dyad.bindings.abi.linux.linux_h.EBADF;
import static dev.dyad.bindings.abi.linux.linux_h.EBADFD;
import static dev.dyad.bindings.abi.linux.linux_h.EINTR;
import static dev.dyad.bindings.abi.linux.linux_h.ENOBUFS;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Tap;

/** A TAP device of ours: one frame in each system call (the device has no other way). Owns it. */
public final class TapPort implements PacketPort {
  private static final int PREFIX_BYTES = 4;

  private final Tap tap;
  private final Count lost = new Count();

  public TapPort(Tap tap) {
    this.tap = tap;
  }

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  @Override
  public long receive(long at, long room) {
    long got = tap.read(at + PREFIX_BYTES, Math.min(room, WIRE_FRAME_BYTES_MAX) - PREFIX_BYTES);
    if (got > 0) {
      Memory.putInt(at, Integer.reverseBytes((int) got));
      return got + PREFIX_BYTES;
    }
    return isGone(got) ? CLOSED : AGAIN;
  }

  /** One frame. */
  @Override
  public long send(long from, long bytes) {
    long length = Integer.reverseBytes(Memory.getInt(from));
    long sent = tap.write(from + PREFIX_BYTES, length);
    if (sent < 0) {
      if (sent == -EAGAIN() || sent == -EINTR() || sent == -ENOBUFS()) {
        return AGAIN;
      }
      if (isGone(sent)) {
        return CLOSED;
      }
      lost.add(1); // EIO: interface down; EINVAL: shorter than an Ethernet header
    }
    return length + PREFIX_BYTES;
  }

  /** EBADFD: the interface was removed under the descriptor. */
  private static boolean isGone(long error) {
    return error == -EBADF() || error == -EBADFD();
  }

  @Override
  public int receiveFd() {
    return tap.fd();
  }

  @Override
  public int sendFd() {
    return tap.fd();
  }

  @Override
  public long lostFrames() {
    return lost.get();
  }

  public Tap tap() {
    return tap;
  }

  @Override
  public void close() {
    tap.close();
  }
}
