package dev.dyad.perf.disk;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.disk.BlockDevice;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import org.HdrHistogram.Histogram;

/** Keeps a queue full on a device, as fio does: the calling thread submits, waits, counts and takes the times. */
final class DiskLoad implements BlockDevice.Completions, AutoCloseable {
  /** Share of the measured time that goes before it. */
  static final double WARM_UP = 0.2;

  private static final long LATENCY_NANOS_MAX = 60_000_000_000L;
  private static final long FLUSH_TAG = -1;

  /** What else the thread does between two turns. */
  interface Between {
    void turn(long nowNanos);
  }

  private final BlockDevice device;
  private final DiskCase test;
  private final long bytes;
  private final Mapping buffers;
  private final int[] idle;
  private final long[] begun;
  private final Histogram latency = new Histogram(LATENCY_NANOS_MAX, 3);
  private final long waitNanosMax;
  private final SplittableRandom random = new SplittableRandom(42);
  private int idleCount;
  private int errors;
  private long done;
  private long sinceFlush;
  private long position;
  private boolean flushing;
  private double allocatedBytesPerIo;
  private double withoutCore;

  /**
   * @param waitNanosMax bound of a wait for the device, {@link Long#MAX_VALUE} for none
   */
  DiskLoad(BlockDevice device, DiskCase test, long bytes, Mapping buffers, long waitNanosMax) {
    this.device = device;
    this.waitNanosMax = waitNanosMax;
    this.test = test;
    this.bytes = bytes;
    this.buffers = buffers;
    idle = new int[test.queueDepth()];
    begun = new long[idle.length];
    for (int i = 0; i < idle.length; i++) {
      idle[i] = i;
    }
    idleCount = idle.length;
  }

  @Override
  public void completed(long tag, int error) {
    if (error < 0) {
      errors++;
    }
    if (tag == FLUSH_TAG) {
      flushing = false;
      return;
    }
    latency.recordValue(Math.min(System.nanoTime() - begun[(int) tag], LATENCY_NANOS_MAX));
    idle[idleCount++] = (int) tag;
    done++;
  }

  /** Over that time, after {@link #WARM_UP} of it. */
  Speed run(double seconds, Between between) {
    turns(seconds * WARM_UP, between);
    latency.reset();
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long waited = nanosWithoutCore();
    long allocated = threads.getCurrentThreadAllocatedBytes();
    long before = done;
    long start = System.nanoTime();
    turns(seconds, between);
    long elapsed = System.nanoTime() - start;
    long ios = done - before;
    long allocatedBytes = threads.getCurrentThreadAllocatedBytes() - allocated;
    withoutCore = (nanosWithoutCore() - waited) / (double) elapsed;
    while (idleCount < idle.length || flushing) {
      between.turn(System.nanoTime());
      turn();
    }
    if (errors > 0) {
      throw new IllegalStateException(errors + " requests failed");
    }
    allocatedBytesPerIo = allocatedBytes / (double) ios;
    return new Speed(ios * 1e9 / elapsed, micros(50), micros(99), latency.getMaxValue() / 1e3);
  }

  private double micros(double percentile) {
    return latency.getValueAtPercentile(percentile) / 1e3;
  }

  /** Time that the calling thread was ready to run and had no core: proc(5), schedstat. */
  private static long nanosWithoutCore() {
    try {
      return Long.parseLong(Files.readString(Path.of("/proc/thread-self/schedstat")).split(" ")[1]);
    } catch (IOException e) {
      return 0; // a kernel without it
    }
  }

  /** Share of the measured time in which the measuring thread was ready to run and had no core. */
  double withoutCore() {
    return withoutCore;
  }

  /** Bytes that the measuring thread allocated in the measured time, a request. */
  double allocatedBytesPerIo() {
    return allocatedBytesPerIo;
  }

  private void turns(double seconds, Between between) {
    long end = System.nanoTime() + (long) (seconds * 1e9);
    long now;
    while ((now = System.nanoTime()) < end) {
      fill();
      between.turn(now);
      turn();
    }
  }

  private void turn() {
    if (device.poll(this) == 0) {
      device.await(waitNanosMax); // one that spun would take a core from the other side's thread and from the kernel's
    }
  }

  private void fill() {
    while (idleCount > 0 && !flushing) {
      if (test.flushEvery() > 0 && sinceFlush == test.flushEvery()) {
        flushing = device.submit(BlockDevice.FLUSH, 0, 0, 0, 0, FLUSH_TAG);
        sinceFlush = 0;
        return;
      }
      int slot = idle[--idleCount];
      long blocks = bytes / test.blockBytes();
      long block = test.random() ? random.nextLong(blocks) : position++ % blocks;
      long at = buffers.hostVirt() + (long) slot * test.blockBytes();
      sinceFlush++;
      begun[slot] = System.nanoTime();
      if (!device.submit(test.write() ? BlockDevice.WRITE : BlockDevice.READ, 0, block * test.blockBytes(), test.blockBytes(), at, slot)) {
        idle[idleCount++] = slot;
        return;
      }
    }
  }

  @Override
  public void close() {
    buffers.close();
  }
}
