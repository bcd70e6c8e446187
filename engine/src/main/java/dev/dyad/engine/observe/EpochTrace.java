package dev.dyad.engine.observe;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import jdk.jfr.EventType;
import jdk.jfr.FlightRecorder;

/**
 * What happened to each epoch, for JFR: the epoch thread writes numbers into a ring and nothing else, the thread of {@link #start} reads
 * them and makes the events. So an epoch costs a few stores whether somebody records or not, and allocates nothing.
 *
 * <p>Bounded: when nobody reads fast enough, records are lost and counted. The reader works only while a recording wants one of the events.
 */
public final class EpochTrace implements AutoCloseable {
  private static final int RECORDS = 1 << 13;
  private static final int WORDS = 12;
  private static final long READ_EVERY_MILLIS = 20;
  private static final long LOOK_EVERY_MILLIS = 250;

  private static final long SEALED = 1;
  private static final long COMMITTED = 2;
  private static final long RELEASED = 3;

  private static final VarHandle WRITTEN;
  private static final VarHandle READ;

  static {
    try {
      MethodHandles.Lookup lookup = MethodHandles.lookup();
      WRITTEN = lookup.findVarHandle(EpochTrace.class, "written", long.class);
      READ = lookup.findVarHandle(EpochTrace.class, "read", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private final long[] ring = new long[RECORDS * WORDS];

  /** Records written; the epoch thread's, read by the reader. */
  @SuppressWarnings("unused")
  private long written;

  /** Records read; the reader's, read by the epoch thread for room. */
  @SuppressWarnings("unused")
  private long read;

  private volatile long lost;
  private volatile boolean closed;
  private final Thread reader = new Thread(this::readAll, "control-trace");

  // ---- the epoch thread

  /** An epoch was sealed at {@code nanos}; how long the guest stood still, and the parts of what ended the epoch. */
  public void sealed(long epoch, long nanos, long pauseNs, long stopNs, long scanNs, long copyNs, long stateNs, long resumeNs, long pages) {
    int at = slot();
    if (at >= 0) {
      ring[at] = SEALED;
      ring[at + 1] = epoch;
      ring[at + 2] = nanos;
      ring[at + 3] = pauseNs;
      ring[at + 4] = stopNs;
      ring[at + 5] = scanNs;
      ring[at + 6] = copyNs;
      ring[at + 7] = stateNs;
      ring[at + 8] = resumeNs;
      ring[at + 9] = pages;
      publish();
    }
  }

  /** The standby holds an epoch that was sealed {@code latencyNs} before. */
  public void committed(long epoch, long nanos, long latencyNs) {
    put(COMMITTED, epoch, nanos, latencyNs, 0);
  }

  /** The output of all epochs up to this one left; it took {@code durationNs}, and {@code frames} are held still. */
  public void released(long epoch, long nanos, long durationNs, long frames) {
    put(RELEASED, epoch, nanos, durationNs, frames);
  }

  private void put(long kind, long epoch, long nanos, long durationNs, long count) {
    int at = slot();
    if (at >= 0) {
      ring[at] = kind;
      ring[at + 1] = epoch;
      ring[at + 2] = nanos;
      ring[at + 3] = durationNs;
      ring[at + 4] = count;
      publish();
    }
  }

  @SuppressWarnings("NonAtomicVolatileUpdate") // one writer
  private int slot() {
    if (written - (long) READ.getAcquire(this) == RECORDS) {
      lost++;
      return -1;
    }
    return (int) (written & RECORDS - 1) * WORDS;
  }

  private void publish() {
    WRITTEN.setRelease(this, written + 1);
  }

  // ---- the reader

  /** Starts the thread that makes events. */
  public void start() {
    reader.setDaemon(true);
    reader.start();
  }

  private void readAll() {
    try {
      while (!closed) {
        boolean wanted = isWanted();
        drain(wanted);
        Thread.sleep(wanted ? READ_EVERY_MILLIS : LOOK_EVERY_MILLIS);
      }
    } catch (InterruptedException e) {
      // closed
    }
    drain(isWanted());
  }

  private static boolean isWanted() {
    return FlightRecorder.isInitialized() && EventType.getEventType(EpochEvents.Epoch.class).isEnabled();
  }

  private void drain(boolean emit) {
    long end = (long) WRITTEN.getAcquire(this);
    if (emit) {
      for (long i = read; i < end; i++) {
        emit((int) (i & RECORDS - 1) * WORDS);
      }
    }
    READ.setRelease(this, end);
  }

  private void emit(int at) {
    long epoch = ring[at + 1];
    long nanos = ring[at + 2];
    if (ring[at] == SEALED) {
      EpochEvents.epoch(epoch, nanos, ring[at + 3], ring[at + 9]);
      EpochEvents.phase(epoch, nanos, "stop", ring[at + 4]);
      EpochEvents.phase(epoch, nanos, "scan", ring[at + 5]);
      EpochEvents.phase(epoch, nanos, "copy", ring[at + 6]);
      EpochEvents.phase(epoch, nanos, "state", ring[at + 7]);
      EpochEvents.phase(epoch, nanos, "resume", ring[at + 8]);
    } else if (ring[at] == COMMITTED) {
      EpochEvents.commit(epoch, nanos, ring[at + 3]);
    } else {
      EpochEvents.release(epoch, nanos, ring[at + 3], ring[at + 4]);
    }
  }

  /** Records that did not fit since the start; not counted as such are those that nobody wanted. */
  public long lost() {
    return lost;
  }

  /** Ends the reader, after it has made events of what there is. */
  @Override
  public void close() {
    closed = true;
    reader.interrupt();
    try {
      reader.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
