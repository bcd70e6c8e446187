package dev.dyad.engine.vm.kvm;

import dev.dyad.bindings.linux.Futex;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * Where the vCPU threads meet the epoch thread.
 *
 * <pre>
 *   epoch thread   STOP ─────── all stopped ── CAPTURE ── (harvest, copy) ── all captured ── RUN
 *   vCPU thread        finish I/O, stopped+1 ──┘     read own state, captured+1 ─┘             └── KVM_RUN
 * </pre>
 *
 * Capture begins only when all have stopped: until then one vCPU could still send another an interrupt that its captured LAPIC would not
 * have. The phase carries a sequence number, so that a thread that slept through a whole round still sees a change.
 *
 * <p>Words are futexes in native memory: waiting allocates nothing, and spins first where cores are to spare.
 */
final class PauseGate implements AutoCloseable {
  static final int RUN = 0;
  static final int STOP = 1;
  static final int CAPTURE = 2;
  static final int CLOSE = 3;

  private static final int KIND_MASK = 3;
  private static final int SEQUENCE_STEP = 4;
  private static final long WAIT_NS_MAX = 100_000_000;

  private final Mapping page = Mapping.anonymous(4096);
  private final long phase = page.hostVirt();
  private final long stopped = phase + 64;
  private final long captured = phase + 128;
  private final int vcpus;
  private final int spins;

  PauseGate(int vcpus, int spins) {
    this.vcpus = vcpus;
    this.spins = spins;
    Memory.putIntVolatile(phase, STOP);
  }

  /** Phase and sequence, to be read with {@link #kind}. */
  int word() {
    return Memory.getIntVolatile(phase);
  }

  static int kind(int word) {
    return word & KIND_MASK;
  }

  // ---- the epoch thread ----

  /** Begins a phase and wakes who waits for it; STOP needs a kick besides, CLOSE comes when all have stopped. */
  void enter(int kind) {
    // Nobody counts now: the last round's counts were awaited, or all have come to a stop since.
    if (kind == STOP) {
      Memory.putInt(stopped, 0);
    } else if (kind == CAPTURE) {
      Memory.putInt(captured, 0);
    }
    Memory.putIntVolatile(phase, (word() & ~KIND_MASK) + SEQUENCE_STEP | kind);
    Futex.wake(phase, Integer.MAX_VALUE);
  }

  void awaitStopped() {
    awaitCount(stopped);
  }

  void awaitCaptured() {
    awaitCount(captured);
  }

  private void awaitCount(long count) {
    for (int i = 0; i < spins; i++) {
      if (Memory.getIntAcquire(count) == vcpus) {
        return;
      }
      Thread.onSpinWait();
    }
    for (int now = Memory.getIntVolatile(count); now != vcpus; now = Memory.getIntVolatile(count)) {
      Futex.await(count, now, WAIT_NS_MAX);
    }
  }

  // ---- a vCPU thread ----

  /** This vCPU runs no guest code and owes the guest nothing. */
  void stopped() {
    count(stopped);
  }

  /** This vCPU's state is in its block. */
  void captured() {
    count(captured);
  }

  private void count(long word) {
    if (Memory.getAndAddInt(word, 1) == vcpus - 1) {
      Futex.wake(word, 1);
    }
  }

  /** Sleeps while the phase is {@code word}. */
  void awaitChange(int word) {
    for (int i = 0; i < spins; i++) {
      if (Memory.getIntAcquire(phase) != word) {
        return;
      }
      Thread.onSpinWait();
    }
    while (word() == word) {
      Futex.await(phase, word, WAIT_NS_MAX);
    }
  }

  @Override
  public void close() {
    page.close();
  }
}
