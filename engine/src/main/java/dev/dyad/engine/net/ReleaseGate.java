package dev.dyad.engine.net;

import dev.dyad.bindings.linux.Clocks;
import java.util.function.LongSupplier;

/**
 * The one place through which a guest's output leaves a host. It asks, right before each system call that sends, whether this
 * side may: not fenced, still the holder of the newest generation, and either alone or within its lease.
 *
 * <p>The lease is the primary's promise to itself: the peer takes over only after it has heard nothing for its bound, so whoever
 * got an answer to something sent at <em>t</em> may release until <em>t</em> + bound − margin and not a nanosecond longer. The
 * protocol computes it and calls {@link #leaseUntil}; this class only compares. A primary that was stopped (SIGSTOP, a
 * suspended host) wakes with a lapsed lease and releases nothing until a new answer of the peer arrives, which a peer that went
 * on alone never gives.
 *
 * <p>A window remains: the process may be stopped between the check and the system call, and the call is then made when it
 * wakes. That breaks no promise. What is sent there was committed: the peer holds that epoch whole, acknowledged it, and whoever
 * goes on, goes on from it or from a later one. So the output belongs to the one history that the world sees; it comes late
 * and perhaps a second time, as packets may. An output of an epoch that is <em>not</em> committed never comes as far as this
 * gate, whatever the clock says. The window is one system call wide: {@link PacketPort#send} makes only one.
 *
 * <p>{@link #mayRelease} is called by the thread that releases; the setters by the control or link thread.
 */
public final class ReleaseGate {
  private final LongSupplier newestGeneration;

  private volatile long heldGeneration;
  private volatile long leaseUntilNanos;
  private volatile boolean alone;
  private volatile boolean fenced;

  /** Written by whoever releases (one thread at a time). */
  private final Count refusals = new Count();

  /**
   * @param newestGeneration the newest generation that anybody on this host has won, cheap enough to be asked before each system
   *     call (a mapped word); a constant where there is none to ask
   * @param heldGeneration the one that this side holds
   */
  public ReleaseGate(LongSupplier newestGeneration, long heldGeneration) {
    this.newestGeneration = newestGeneration;
    this.heldGeneration = heldGeneration;
    this.leaseUntilNanos = Clocks.bootNs();
  }

  /** Whether output may leave at this moment. */
  public boolean mayRelease() {
    if (fenced || newestGeneration.getAsLong() > heldGeneration) {
      refusals.add(1);
      return false;
    }
    // Read the clock last: nothing stands between it and the system call but this return.
    if (alone || Clocks.bootNs() - leaseUntilNanos < 0) {
      return true;
    }
    refusals.add(1);
    return false;
  }

  /**
   * The peer has answered: until that time of {@link Clocks#bootNs()}, which goes on while the host is suspended, it will not take over. Never moves backwards.
   */
  public void leaseUntil(long bootNs) {
    if (bootNs - leaseUntilNanos > 0) {
      leaseUntilNanos = bootNs;
    }
  }

  /** This side has won {@code generation} and runs without a peer: no lease is needed until {@link #protectedAgain}. */
  public void goAlone(long generation) {
    heldGeneration = generation;
    alone = true;
  }

  /** There is a peer again that may take over: from now on the lease counts. */
  public void protectedAgain() {
    alone = false;
  }

  /** Nothing leaves any more, ever. */
  public void fence() {
    fenced = true;
  }

  public boolean isFenced() {
    return fenced;
  }

  /** How often output was ready and the gate said no. */
  public long refusals() {
    return refusals.get();
  }
}
