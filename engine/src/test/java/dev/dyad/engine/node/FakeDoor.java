package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.disk.DiskRest;
import dev.dyad.engine.disk.GuestDoor;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A guest's disk driver without a guest: writes the numbers 1, 2, 3 … to blocks in turn, with a few under way at once, and knows which it has
 * asked for and which were answered. A write that completes while the guest is paused is answered when it runs again.
 */
final class FakeDoor implements GuestDoor, BlockDevice.Completions {
  static final int BLOCKS = 64;
  static final int BLOCK_BYTES = 4096;
  private static final int DEPTH = 4;

  private final BlockDevice device;
  private final Mapping buffers = Mapping.anonymous((long) DEPTH * BLOCK_BYTES);
  private final AtomicLong asked = new AtomicLong();
  private final AtomicLong taken = new AtomicLong();
  private final AtomicLong done = new AtomicLong();
  private final boolean[] ended = new boolean[DEPTH];

  FakeDoor(BlockDevice device) {
    this.device = device;
  }

  /** The guest asks for one more write, unless enough are under way. Its thread. */
  boolean ask() {
    if (asked.get() - done.get() >= DEPTH) {
      return false;
    }
    asked.incrementAndGet();
    return true;
  }

  long asked() {
    return asked.get();
  }

  /** Writes 1 to this one are answered. */
  long done() {
    return done.get();
  }

  @Override
  public void rest(DiskRest rest) {
    if (taken.get() < asked.get()) {
      rest.stayAwake();
    }
  }

  @Override
  public int poll() {
    int work = 0;
    while (taken.get() < asked.get()) {
      long number = taken.get() + 1;
      int slot = (int) (number % DEPTH);
      long at = buffers.hostVirt() + (long) slot * BLOCK_BYTES;
      for (int word = 0; word < BLOCK_BYTES; word += 8) {
        Memory.putLong(at + word, number);
      }
      if (!device.submit(BlockDevice.WRITE, 0, number % BLOCKS * BLOCK_BYTES, BLOCK_BYTES, at, number)) {
        return work;
      }
      taken.set(number);
      work++;
    }
    return work;
  }

  @Override
  public void completed(long tag, int error) {
    if (error != 0) {
      throw new IllegalStateException("write " + tag + " failed: " + error);
    }
    ended[(int) (tag % DEPTH)] = true;
    for (long next = done.get() + 1; next <= asked.get() && ended[(int) (next % DEPTH)]; next++) {
      ended[(int) (next % DEPTH)] = false;
      done.set(next);
    }
  }

  @Override
  public BlockDevice.Completions completions() {
    return this;
  }

  @Override
  public int connections() {
    return 1;
  }

  @Override
  public void close() {
    buffers.close();
  }
}
