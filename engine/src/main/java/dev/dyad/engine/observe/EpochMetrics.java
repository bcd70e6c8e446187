package dev.dyad.engine.observe;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.SingleWriterRecorder;

/**
 * What one node measures about its epochs. Written by the epoch thread alone, without allocation; read by the control thread.
 *
 * <p>Counters are plain fields of the writer, published with release stores; a reader sees each of them whole and recent, not
 * all of them of one instant.
 */
public final class EpochMetrics {
  private static final long NANOS_MAX = 600_000_000_000L;
  private static final long COUNT_MAX = 1L << 40;

  private static final VarHandle EPOCHS_SEALED = counter("epochsSealed");
  private static final VarHandle EPOCHS_COMMITTED = counter("epochsCommitted");
  private static final VarHandle LAST_COMMITTED_EPOCH = counter("lastCommittedEpoch");
  private static final VarHandle LAST_COMMIT_NANOS = counter("lastCommitNanos");
  private static final VarHandle PAGES_SHIPPED = counter("pagesShipped");
  private static final VarHandle PAGES_SHIPPED_EARLY = counter("pagesShippedEarly");
  private static final VarHandle RINGS_FULL = counter("ringsFull");
  private static final VarHandle BYTES_SHIPPED = counter("bytesShipped");
  private static final VarHandle PACKETS_HELD = counter("packetsHeld");
  private static final VarHandle PACKETS_RELEASED = counter("packetsReleased");
  private static final VarHandle BASELINE_PAGES_LEFT = counter("baselinePagesLeft");

  /** What ending an epoch consists of, in this order; the guest stands still from late in the first to early in the last. */
  public enum PausePart {
    /** From the request to the guest's standstill. */
    STOP,
    /** Finding the pages that were written. */
    SCAN,
    /** Copying them. */
    COPY,
    /** Taking CPU and device state. */
    STATE,
    /** From the state's end until the guest is known to run. */
    RESUME
  }

  private final Distribution pauseNanos = new Distribution(NANOS_MAX);
  private final Distribution cutNanos = new Distribution(NANOS_MAX);
  private final Distribution[] pausePartNanos = new Distribution[PausePart.values().length];
  private final Distribution shipNanos = new Distribution(NANOS_MAX);
  private final Distribution commitNanos = new Distribution(NANOS_MAX);
  private final Distribution dirtyPages = new Distribution(COUNT_MAX);
  private final Distribution epochBytes = new Distribution(COUNT_MAX);

  // Written through the handles above.
  @SuppressWarnings("unused")
  private long epochsSealed;

  @SuppressWarnings("unused")
  private long epochsCommitted;

  @SuppressWarnings("unused")
  private long lastCommittedEpoch = -1;

  @SuppressWarnings("unused")
  private long lastCommitNanos;

  @SuppressWarnings("unused")
  private long pagesShipped;

  @SuppressWarnings("unused")
  private long pagesShippedEarly;

  @SuppressWarnings("unused")
  private long ringsFull;

  @SuppressWarnings("unused")
  private long bytesShipped;

  @SuppressWarnings("unused")
  private long packetsHeld;

  @SuppressWarnings("unused")
  private long packetsReleased;

  @SuppressWarnings("unused")
  private long baselinePagesLeft;

  public EpochMetrics() {
    for (PausePart part : PausePart.values()) {
      pausePartNanos[part.ordinal()] = new Distribution(NANOS_MAX);
    }
  }

  /** One recorded quantity: intervals for whoever watches, and the total since the start. */
  public static final class Distribution {
    private final SingleWriterRecorder recorder;
    private final Histogram total;
    private Histogram interval;

    private Distribution(long max) {
      recorder = new SingleWriterRecorder(1, max, 3);
      total = new Histogram(1, max, 3);
      interval = recorder.getIntervalHistogram();
    }

    private void record(long value, long max) {
      recorder.recordValue(Math.clamp(value, 0, max));
    }

    /** The distribution since the start; a copy for the caller. Reader's side. */
    public synchronized Histogram total() {
      interval = recorder.getIntervalHistogram(interval);
      total.add(interval);
      return total.copy();
    }
  }

  /** Writer: an epoch was sealed. */
  public void sealed(long pauseNs, long pages) {
    pauseNanos.record(pauseNs, NANOS_MAX);
    dirtyPages.record(pages, COUNT_MAX);
    add(EPOCHS_SEALED, 1);
  }

  /** Writer: how long the thread that ended the epoch was at it, the parts of the pause together. */
  public void cut(long nanos) {
    cutNanos.record(nanos, NANOS_MAX);
  }

  /** Writer: how long one part of that pause took. */
  public void pausePart(PausePart part, long nanos) {
    pausePartNanos[part.ordinal()].record(nanos, NANOS_MAX);
  }

  /** Writer: a sealed epoch has been encoded for the link. */
  public void shipped(long pages, long bytes) {
    epochBytes.record(bytes, COUNT_MAX);
    add(PAGES_SHIPPED, pages);
    add(BYTES_SHIPPED, bytes);
  }

  /** Writer: how long after its seal the last byte of an epoch was handed to the link: encoding and sending. */
  public void handedOver(long nanos) {
    shipNanos.record(nanos, NANOS_MAX);
  }

  /** Writer: so many pages were found before their epoch's end, to be shipped at once. */
  public void shippedEarly(long pages) {
    add(PAGES_SHIPPED_EARLY, pages);
  }

  /** Writer: an epoch's end was asked for because the dirty ring was full. */
  public void ringFull() {
    add(RINGS_FULL, 1);
  }

  /** Writer: the standby acknowledged an epoch that was sealed at {@code sealedNanos}. */
  public void committed(long epoch, long sealedNanos, long nowNanos) {
    commitNanos.record(nowNanos - sealedNanos, NANOS_MAX);
    add(EPOCHS_COMMITTED, 1);
    LAST_COMMITTED_EPOCH.setRelease(this, epoch);
    LAST_COMMIT_NANOS.setRelease(this, nowNanos);
  }

  public void packets(long held, long released) {
    PACKETS_HELD.setRelease(this, held);
    PACKETS_RELEASED.setRelease(this, released);
  }

  public void baselinePagesLeft(long pages) {
    BASELINE_PAGES_LEFT.setRelease(this, pages);
  }

  public Distribution pauseNanos() {
    return pauseNanos;
  }

  /** Request to answer: the pause, and what the hypervisor took to begin it and to report its end. */
  public Distribution cutNanos() {
    return cutNanos;
  }

  public Distribution pausePartNanos(PausePart part) {
    return pausePartNanos[part.ordinal()];
  }

  /** Seal to the last byte handed to the link: the sender's part of {@link #commitNanos}. */
  public Distribution shipNanos() {
    return shipNanos;
  }

  public Distribution commitNanos() {
    return commitNanos;
  }

  public Distribution dirtyPages() {
    return dirtyPages;
  }

  public Distribution epochBytes() {
    return epochBytes;
  }

  public long epochsSealed() {
    return read(EPOCHS_SEALED);
  }

  public long epochsCommitted() {
    return read(EPOCHS_COMMITTED);
  }

  /** Number of the last committed epoch, −1 before the first. */
  public long lastCommittedEpoch() {
    return read(LAST_COMMITTED_EPOCH);
  }

  /** Time of the last commit by the clock of whoever reported it, 0 before the first. */
  public long lastCommitNanos() {
    return read(LAST_COMMIT_NANOS);
  }

  public long pagesShipped() {
    return read(PAGES_SHIPPED);
  }

  public long pagesShippedEarly() {
    return read(PAGES_SHIPPED_EARLY);
  }

  /** Epoch ends that a full dirty ring asked for. */
  public long ringsFull() {
    return read(RINGS_FULL);
  }

  public long bytesShipped() {
    return read(BYTES_SHIPPED);
  }

  public long packetsHeld() {
    return read(PACKETS_HELD);
  }

  public long packetsReleased() {
    return read(PACKETS_RELEASED);
  }

  public long baselinePagesLeft() {
    return read(BASELINE_PAGES_LEFT);
  }

  private void add(VarHandle counter, long amount) {
    counter.setRelease(this, (long) counter.get(this) + amount);
  }

  private long read(VarHandle counter) {
    return (long) counter.getAcquire(this);
  }

  private static VarHandle counter(String name) {
    try {
      return MethodHandles.lookup().findVarHandle(EpochMetrics.class, name, long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }
}
