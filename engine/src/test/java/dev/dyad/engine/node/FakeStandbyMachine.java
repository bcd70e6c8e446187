package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;

/** The machine that waits for a {@link FakeGuest}: memory, and after the promotion the guest's count of writes. */
final class FakeStandbyMachine implements StandbyMachine {
  private final GuestMemory memory;
  private final Mapping ram;
  private volatile long writes = -1;
  private volatile long asked;
  private volatile long answered;
  private volatile boolean closed;

  FakeStandbyMachine(GuestMemory memory) {
    this.memory = memory;
    ram = Mapping.anonymous(memory.blocks().getFirst().bytes());
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public long hostVirt(int block) {
    return ram.hostVirt();
  }

  @Override
  public void promote(long state, int bytes) {
    asked = Memory.getLong(state + 8);
    answered = Memory.getLong(state + 16);
    writes = Memory.getLong(state);
  }

  /** The count of writes in the promoted state, −1 before. */
  long writes() {
    return writes;
  }

  /** Writes that the guest had asked of its disk. */
  long asked() {
    return asked;
  }

  /** Writes that it knew to be done. */
  long answered() {
    return answered;
  }

  /** The largest number that any word of memory holds: equal to {@link #writes} if memory and state are of one instant. */
  long newestWrite() {
    long newest = 0;
    for (long at = ram.hostVirt(); at < ram.hostVirt() + ram.bytes(); at += 8) {
      newest = Math.max(newest, Memory.getLong(at));
    }
    return newest;
  }

  boolean isClosed() {
    return closed;
  }

  @Override
  public void close() {
    closed = true;
    ram.close();
  }
}
