package dev.dyad.perf.micro;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.memory.LastSent;
import dev.dyad.engine.memory.PageEncoder;
import dev.dyad.engine.memory.Replica;
import dev.dyad.engine.vm.GuestMemory;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * One page through the encoder, and the same page applied at the standby; nanoseconds a page. Two versions of 64 pages alternate, so
 * that every form meets what it is made for. {@link PageWorkBenchmark#copy} is the least that anybody must do.
 */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class PageEncodeBenchmark {
  private static final int PAGES = 64;
  private static final int PAGE_BYTES = GuestMemory.PAGE_BYTES;
  private static final int SMALL_CHANGE_WORDS = 8;

  /** How the second version differs from the first. */
  public enum Form {
    ZERO,
    SAME,
    DELTA,
    RAW
  }

  @Param public Form form = Form.DELTA;

  private Mapping pages;
  private Mapping payload;
  private Mapping replicaPages;
  private LastSent lastSent;
  private PageEncoder encoder;
  private Replica replica;
  private int payloadBytes;
  private int version;

  @Setup
  public void setUp() {
    pages = Mapping.anonymous(2L * PAGES * PAGE_BYTES);
    payload = Mapping.anonymous(2L * PAGES * PAGE_BYTES + PageEncoder.ROOM_BYTES_MIN);
    replicaPages = Mapping.anonymous(2L * PAGES * PAGE_BYTES);
    lastSent = new LastSent(2L * PAGES * PAGE_BYTES);
    encoder = new PageEncoder(lastSent);
    GuestMemory layout = GuestMemory.builder().block("ram", (long) PAGES * PAGE_BYTES).build(PAGE_BYTES);
    replica = new Replica(layout, new long[] {replicaPages.hostVirt(), replicaPages.hostVirt() + (long) PAGES * PAGE_BYTES});
    fill();
    encode();
    payloadBytes = encode();
  }

  private void fill() {
    SplittableRandom random = new SplittableRandom(1);
    for (int page = 0; page < PAGES; page++) {
      long first = pageVirt(0, page);
      long second = pageVirt(1, page);
      for (int i = 0; i < PAGE_BYTES; i += 8) {
        Memory.putLong(first + i, form == Form.ZERO ? 0 : random.nextLong());
      }
      Memory.copy(first, second, PAGE_BYTES);
      int changes = form == Form.DELTA ? SMALL_CHANGE_WORDS : form == Form.RAW ? PAGE_BYTES / 8 : 0;
      for (int i = 0; i < changes; i++) {
        Memory.putLong(second + (form == Form.RAW ? i * 8L : random.nextInt(PAGE_BYTES / 8) * 8L), random.nextLong());
      }
    }
  }

  private long pageVirt(int ofVersion, int page) {
    return pages.hostVirt() + ((long) ofVersion * PAGES + page) * PAGE_BYTES;
  }

  private int encode() {
    version ^= 1;
    if (form == Form.ZERO) {
      lastSent.clear(); // a page that became zero, not one that is zero still
    }
    encoder.begin(payload.hostVirt(), (int) payload.bytes());
    for (int page = 0; page < PAGES; page++) {
      encoder.add(page, pageVirt(version, page));
    }
    return encoder.end(0);
  }

  @Benchmark
  @OperationsPerInvocation(PAGES)
  public int encodePage() {
    return encode();
  }

  /** The last payload again and again: the same bytes to read and write, whatever they then mean. */
  @Benchmark
  @OperationsPerInvocation(PAGES)
  public void applyPage() {
    replica.applyPages(payload.hostVirt(), payloadBytes);
  }

  @TearDown
  public void tearDown() {
    lastSent.close();
    replicaPages.close();
    payload.close();
    pages.close();
  }
}
