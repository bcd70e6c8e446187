package dev.dyad.engine.disk;

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
  /** Turns without work before it rests. Where cores are few, the one that it spins on is missed by whoever it waits for. */
  private static final int SPINS = Runtime.getRuntime().availableProcessors() > 4 ? 2_000 : 100;

  private static final long PARK_NANOS = 50_000;

  /** A caller spins for what an awake thread needs to hear it, not for what a sleeping one needs to get a core. */
  private static final int CALLER_SPINS = 200;

  private static final long CALLER_PARK_NANOS = 1_000_000;

  /** What the thread does. */
  public interface Turn {
    /** Returns the amount of work done; 0 lets the thread rest if it may. */
    int poll(long nowNanos);
  }

  private final AtomicReference<@Nullable Runnable> call = new AtomicReference<>();
  private final Thread thread;
  private final Turn turn;
  private final boolean busy;
  /** Calls that were carried out; written by the thread alone. */
  private volatile long finished;

  /** Who sleeps until its call is carried out. */
  private volatile @Nullable Thread caller;

  private volatile boolean stop;
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
    int idle = 0;
    long carriedOut = 0;
    try {
      while (!stop) {
        Runnable wanted = call.get();
        if (wanted != null) {
          call.set(null);
          wanted.run();
          finished = ++carriedOut;
          LockSupport.unpark(caller); // it set itself before it looked at finished
          idle = 0;
        }
        if (turn.poll(System.nanoTime()) > 0) {
          idle = 0;
        } else if (busy || ++idle < SPINS) {
          Thread.onSpinWait();
        } else {
          LockSupport.parkNanos(PARK_NANOS);
        }
      }
    } catch (RuntimeException | Error e) {
      failure = e; // whatever it was: nobody may wait for this thread
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
    LockSupport.unpark(thread);
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
    LockSupport.unpark(thread);
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
  }
}
