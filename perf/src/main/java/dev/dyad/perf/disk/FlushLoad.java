package dev.dyad.perf.disk;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.disk.BlockDevice;
import java.util.SplittableRandom;
import org.HdrHistogram.Histogram;

/** A random write of 4 KiB and a flush, one after the other, on a mirror; times the flush. The calling thread is the disk's. */
final class FlushLoad {
  private static final int BYTES = 4096;
  private static final long NANOS_MAX = 60_000_000_000L;

  private final MirrorPair pair;
  private final long blocks;
  private final SplittableRandom random = new SplittableRandom(42);
  private final Histogram answered = new Histogram(NANOS_MAX, 3);
  private final Histogram onBoth = new Histogram(NANOS_MAX, 3);
  private final BlockDevice.Completions completions = this::completed;
  private boolean done;

  FlushLoad(MirrorPair pair, long bytes) {
    this.pair = pair;
    blocks = bytes / BYTES;
  }

  void run(double seconds) {
    try (Mapping data = Mapping.anonymous(BYTES)) {
      turns(seconds * DiskLoad.WARM_UP, data.hostVirt());
      answered.reset();
      onBoth.reset();
      turns(seconds, data.hostVirt());
    }
  }

  /** Microseconds until the guest has its answer. */
  double answeredP50() {
    return answered.getValueAtPercentile(50) / 1e3;
  }

  /** Microseconds until, besides, the standby has what was written before, as durably as it is asked to. */
  double onBothP50() {
    return onBoth.getValueAtPercentile(50) / 1e3;
  }

  private void turns(double seconds, long hostVirt) {
    long end = System.nanoTime() + (long) (seconds * 1e9);
    while (System.nanoTime() < end) {
      submit(BlockDevice.WRITE, random.nextLong(blocks) * BYTES, BYTES, hostVirt);
      awaitDone();
      long start = System.nanoTime();
      submit(BlockDevice.FLUSH, 0, 0, 0);
      turn(); // it is under way, and its epoch knows of it
      long epoch = pair.seal();
      awaitDone();
      answered.recordValue(System.nanoTime() - start);
      while (!pair.isWhole(epoch)) {
        if (turn() == 0) {
          pair.awaitStandby();
        }
      }
      onBoth.recordValue(System.nanoTime() - start);
    }
  }

  private void submit(int op, long offset, long bytes, long hostVirt) {
    done = false;
    if (!pair.disk().submit(op, 0, offset, bytes, hostVirt, 0)) {
      throw new IllegalStateException("an idle disk takes no request");
    }
  }

  private void awaitDone() {
    while (!done) {
      if (turn() == 0) {
        pair.disk().await(MirrorPair.WAIT_NANOS);
      }
    }
  }

  private int turn() {
    pair.disk().tick(System.nanoTime());
    return pair.disk().poll(completions);
  }

  private void completed(long tag, int error) {
    if (error < 0) {
      throw new IllegalStateException("a request failed: errno " + -error);
    }
    done = true;
  }
}
