package dev.dyad.perf.micro;

import static dev.dyad.bindings.abi.linux.linux_h.UFFDIO_REGISTER_MODE_WP;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_ASYNC;
import static dev.dyad.bindings.abi.linux.linux_h.UFFD_FEATURE_WP_UNPOPULATED;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.PagemapScan;
import dev.dyad.bindings.linux.Userfaultfd;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * One harvest of 256 populated MiB: what the kernel takes to walk them, and with written pages what it takes to report and protect these
 * again. {@link #write} is part of the second and measured alone beside it.
 */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class DirtyScanBenchmark {
  private static final long BYTES = 256L << 20;
  private static final int PAGE_BYTES = 4096;

  @Param({"0", "300", "3000"})
  public int writtenPages;

  private Mapping memory;
  private Userfaultfd userfaultfd;
  private PagemapScan scan;
  private long stride;
  private long turn;

  @Setup
  public void setUp() {
    memory = Mapping.anonymous(BYTES);
    for (long at = 0; at < BYTES; at += PAGE_BYTES) {
      Memory.putLong(memory.hostVirt() + at, at);
    }
    userfaultfd = Userfaultfd.create(true);
    NativeException.check(userfaultfd.enable(UFFD_FEATURE_WP_ASYNC() | UFFD_FEATURE_WP_UNPOPULATED()), "UFFDIO_API", "");
    NativeException.check(userfaultfd.register(memory.hostVirt(), BYTES, UFFDIO_REGISTER_MODE_WP()), "UFFDIO_REGISTER", "");
    NativeException.check(userfaultfd.protect(memory.hostVirt(), BYTES), "UFFDIO_WRITEPROTECT", "");
    scan = PagemapScan.open(0, 1 << 14);
    stride = writtenPages == 0 ? 0 : BYTES / writtenPages & -PAGE_BYTES;
  }

  @Benchmark
  public int writeAndHarvest() {
    write();
    return scan.harvest(memory.hostVirt(), memory.hostVirt() + BYTES);
  }

  /** Of pages that are not protected any more after the first turn: the stores without the faults. */
  @Benchmark
  public void write() {
    turn++;
    for (int i = 0; i < writtenPages; i++) {
      Memory.putLong(memory.hostVirt() + i * stride, turn);
    }
  }

  @TearDown
  public void tearDown() {
    scan.close();
    userfaultfd.close();
    memory.close();
  }
}
