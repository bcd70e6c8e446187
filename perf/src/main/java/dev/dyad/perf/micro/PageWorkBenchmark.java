package dev.dyad.perf.micro;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.memory.PageDelta;
import dev.dyad.engine.memory.Pages;
import dev.dyad.engine.vm.GuestMemory;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** What is done with one page: looked at, copied, told from its last version, made into its next one; nanoseconds a page. 64 pages, of which 8 words change. */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class PageWorkBenchmark {
  private static final int PAGES = 64;
  private static final int PAGE_BYTES = GuestMemory.PAGE_BYTES;
  private static final int CHANGES = 8;

  private Mapping versions;
  private Mapping target;
  private Mapping zeroes;
  private Mapping room;
  private int version;

  @Setup
  public void setUp() {
    versions = Mapping.anonymous(2L * PAGES * PAGE_BYTES);
    target = Mapping.anonymous((long) PAGES * PAGE_BYTES);
    zeroes = Mapping.anonymous((long) PAGES * PAGE_BYTES);
    room = Mapping.anonymous(2L * PageDelta.ROOM_BYTES);
    SplittableRandom random = new SplittableRandom(1);
    for (long at = 0; at < (long) PAGES * PAGE_BYTES; at += Long.BYTES) {
      Memory.putLong(versions.hostVirt() + at, random.nextLong());
      Memory.putLong(zeroes.hostVirt() + at, 0); // memory of its own, not the kernel's one page
    }
    Memory.copy(versions.hostVirt(), pageVirt(1, 0), (long) PAGES * PAGE_BYTES);
    Memory.copy(versions.hostVirt(), target.hostVirt(), (long) PAGES * PAGE_BYTES);
    for (int page = 0; page < PAGES; page++) {
      for (int i = 0; i < CHANGES; i++) {
        Memory.putLong(pageVirt(1, page) + random.nextInt(PAGE_BYTES / Long.BYTES) * 8L, random.nextLong());
      }
    }
    delta();
  }

  private long pageVirt(int of, int page) {
    return versions.hostVirt() + ((long) of * PAGES + page) * PAGE_BYTES;
  }

  @Benchmark
  @OperationsPerInvocation(PAGES)
  public int isZero() {
    int count = 0;
    for (int page = 0; page < PAGES; page++) {
      count += Pages.isZero(zeroes.hostVirt() + (long) page * PAGE_BYTES) ? 1 : 0;
    }
    return count;
  }

  @Benchmark
  @OperationsPerInvocation(PAGES)
  public void copy() {
    version ^= 1;
    for (int page = 0; page < PAGES; page++) {
      Memory.copy(pageVirt(version, page), target.hostVirt() + (long) page * PAGE_BYTES, PAGE_BYTES);
    }
  }

  @Benchmark
  @OperationsPerInvocation(PAGES)
  public int delta() {
    version ^= 1;
    int bytes = 0;
    for (int page = 0; page < PAGES; page++) {
      bytes += PageDelta.encode(pageVirt(version, page), target.hostVirt() + (long) page * PAGE_BYTES, room.hostVirt());
    }
    return bytes;
  }

  /** The last difference on every page. */
  @Benchmark
  @OperationsPerInvocation(PAGES)
  public void apply() {
    for (int page = 0; page < PAGES; page++) {
      PageDelta.apply(room.hostVirt(), target.hostVirt() + (long) page * PAGE_BYTES);
    }
  }

  @TearDown
  public void tearDown() {
    room.close();
    zeroes.close();
    target.close();
    versions.close();
  }
}
