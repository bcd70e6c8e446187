package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;

import dev.dyad.bindings.linux.EventFd;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The thread named "disk": turns what it is given over and over, and carries calls of other threads in between two turns, so that
 * everything of a disk has one owner.
 *
 * <p>One call at a time is under way; the caller waits for it, which costs at most one turn. A call allocates nothing when its {@link
 * Runnable} is made beforehand.
 */
public final class DiskThread implements AutoCloseable {
  /**
   * How long it looks for work before it rests. Time and not turns, since a turn over tcp has system calls. Where cores are few, the one that it spins on is missed by
   * whoever it waits for.
   */
  private static final long SPIN_NANOS = Runtime.getRuntime().availableProcessors() > 4 ? 1_000_000 : 5_000;

  /** Bound of a rest, for what nothing tells of: budgets, what the epoch thread has set. */
  private static final long REST_NANOS = 50_000;

  /** A caller spins for what an awake thread needs to hear it, not for what a sleeping one needs to get a core. */
  private static final int CALLER_SPINS = 200;

  private static final long CALLER_PARK_NANOS = 1_000_000;

  /** What the thread does. */
  public interface Turn {
    /** Returns the amount of work done; 0 lets the thread rest if it may. */
    int poll(long nowNanos);

    /** Names what makes the next turn worth while, before the thread rests. */
    default void rest(DiskRest rest) {}
  }

  private final AtomicReference<@Nullable Runnable> call = new AtomicReference<>();
  private final Thread thread;
  private final Turn turn;
  private final boolean busy;
  /** Calls that were carried out; written by the thread alone. */
  private volatile long finished;

  /** Who sleeps until its call is carried out. */
  private volatile @Nullable Thread caller;

  private final EventFd bell = new EventFd();
  private final DiskRest rest = new DiskRest();

  /** Whether the thread sleeps, or is about to look for calls and requests a last time before that. */
  private volatile boolean resting;

  private volatile boolean stop;
  private boolean closed;
  private volatile @Nullable Throwable failure;

  /**
   * @param busy whether it polls without rest: for a core of its own
   */
  public DiskThread(Turn turn, boolean busy) {
    this.turn = turn;
    this.busy = busy;
    thread = Thread.ofPlatform().name("disk").daemon(true).unstarted(this::run);
  }

  public void start() {
    thread.start();
  }

  private void run() {
    long carriedOut = 0;
    boolean idle = false;
    long idleSince = 0;
    try {
      while (!stop) {
        long now = System.nanoTime();
        Runnable wanted = call.get();
        if (wanted != null) {
          call.set(null);
          wanted.run();
          finished = ++carriedOut;
          LockSupport.unpark(caller); // it set itself before it looked at finished
          idle = false;
        }
        if (turn.poll(now) > 0) {
          idle = false;
        } else if (!idle) {
          idle = true;
          idleSince = now;
        } else if (busy || now - idleSince < SPIN_NANOS) {
          Thread.onSpinWait();
        } else {
          rest();
        }
      }
    } catch (RuntimeException | Error e) {
      failure = e; // whatever it was: nobody may wait for this thread
    }
    resting = false;
  }

  private void rest() {
    resting = true;
    turn.rest(rest.begin());
    int rung = rest.on(bell.fd(), POLLIN());
    if (call.get() == null && !stop) { // who set them since rings
      rest.sleep(REST_NANOS);
    }
    resting = false;
    if (rest.woke(rung)) {
      bell.drain();
    }
  }

  /** Ends a rest; any thread, after what it has to tell can be seen. */
  public void wake() {
    if (resting) {
      bell.signal();
    }
  }

  /**
   * Runs something between two turns and waits for its end.
   *
   * @throws IllegalStateException when the thread has ended, with the reason as its cause
   */
  public synchronized void call(Runnable wanted) {
    long before = finished;
    call.set(wanted);
    wake();
    for (int spins = 0; finished == before && spins < CALLER_SPINS; spins++) {
      Thread.onSpinWait();
    }
    if (finished != before) {
      return;
    }
    caller = Thread.currentThread();
    while (finished == before) {
      requireAlive();
      LockSupport.parkNanos(CALLER_PARK_NANOS);
    }
    caller = null;
  }

  private void requireAlive() {
    if (failure != null || !thread.isAlive()) {
      throw new IllegalStateException("the disk thread has ended", failure);
    }
  }

  /** Why the thread ended by itself, or null. */
  public @Nullable Throwable failure() {
    return failure;
  }

  /** Ends the thread after the turn that it is in. */
  @Override
  public void close() {
    stop = true;
    wake();
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    synchronized (this) { // nobody is about to ring
      if (!closed) {
        closed = true;
        bell.close();
        rest.close();
      }
    }
  }
}
