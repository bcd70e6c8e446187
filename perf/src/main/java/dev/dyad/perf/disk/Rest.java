package dev.dyad.perf.disk;

import dev.dyad.engine.disk.BlockDevice;
import java.util.concurrent.locks.LockSupport;

/**
 * How a measuring thread waits when a turn did nothing: for the device, and where nothing is under way there, as a disk's thread rests. One that only spun would take
 * a core from the other side's thread and from the kernel's.
 */
final class Rest {
  private static final int SPINS = 100;
  private static final long PARK_NANOS = 50_000;

  /** As fio waits: a bound arms a timer at each request. */
  static final long UNBOUNDED = Long.MAX_VALUE;

  /** What the link has to do must not wait for the image: without a bound the mirror over tcp reached less than half. */
  static final long MIRROR_NANOS = 1_000_000;

  private final long nanosMax;
  private int idleTurns;

  Rest(long nanosMax) {
    this.nanosMax = nanosMax;
  }

  void worked() {
    idleTurns = 0;
  }

  void idle(BlockDevice device) {
    device.await(nanosMax);
    idle();
  }

  /** For what no device tells of. */
  void idle() {
    if (++idleTurns > SPINS) {
      LockSupport.parkNanos(PARK_NANOS);
    }
  }
}
