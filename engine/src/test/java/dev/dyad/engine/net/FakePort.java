package dev.dyad.engine.net;

import dev.dyad.bindings.linux.Memory;

/** Gives the same bytes at each receipt, and takes everything. */
class FakePort implements PacketPort {
  private byte[] wire = new byte[0];

  void fill(byte[] bytes) {
    wire = bytes;
  }

  @Override
  public int prefixBytes() {
    return 4;
  }

  @Override
  public long receive(long at, long room) {
    Memory.copyFrom(wire, 0, at, wire.length);
    return wire.length;
  }

  @Override
  public long send(long from, long bytes) {
    return bytes;
  }

  @Override
  public int receiveFd() {
    return -1;
  }

  @Override
  public int sendFd() {
    return -1;
  }

  @Override
  public long lostFrames() {
    return 0;
  }

  @Override
  public void close() {}
}
