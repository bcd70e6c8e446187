package dev.dyad.engine.node;

import dev.dyad.engine.disk.DiskThread;

/** What the disk thread does over and over, which changes when a standby's disk becomes a primary's. Changed on that thread only. */
final class DiskTurns implements DiskThread.Turn {
  private DiskThread.Turn turn = now -> 0;

  void become(DiskThread.Turn next) {
    turn = next;
  }

  @Override
  public int poll(long nowNanos) {
    return turn.poll(nowNanos);
  }
}
