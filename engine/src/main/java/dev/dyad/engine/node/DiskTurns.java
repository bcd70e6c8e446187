package dev.dyad.engine.node;

import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.DiskThread;
import java.util.function.Consumer;

/** What the disk thread does over and over, which changes when a standby's disk becomes a primary's. Changed on that thread only. */
final class DiskTurns implements DiskThread.Turn {
  private DiskThread.Turn turn = now -> 0;
  private Consumer<DiskRest> rest = ignored -> {};

  void become(DiskThread.Turn next, Consumer<DiskRest> nextRest) {
    turn = next;
    rest = nextRest;
  }

  /** Nothing is left to be done. */
  void end() {
    become(now -> 0, ignored -> {});
  }

  @Override
  public int poll(long nowNanos) {
    return turn.poll(nowNanos);
  }

  @Override
  public void rest(DiskRest sleep) {
    rest.accept(sleep);
  }
}
