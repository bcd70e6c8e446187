package dev.dyad.perf.micro;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.Crc32c;
import java.util.concurrent.TimeUnit;
import java.util.zip.CRC32C;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** CRC32C of native memory, beside the JDK's own of an array of the same size. */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class ChecksumBenchmark {
  @Param({"64", "4096", "262144"})
  public int bytes = 4096;

  private Mapping memory;
  private Crc32c ours;
  private byte[] array;
  private final CRC32C jdk = new CRC32C();

  @Setup
  public void setUp() {
    memory = Mapping.anonymous(1 << 20);
    ours = new Crc32c(memory.hostVirt(), memory.bytes());
    array = new byte[bytes];
    for (int i = 0; i < bytes; i++) {
      array[i] = (byte) (i * 31);
    }
    Memory.copyFrom(array, 0, memory.hostVirt(), bytes);
  }

  @Benchmark
  public int ofMemory() {
    return ours.of(memory.hostVirt(), bytes);
  }

  @Benchmark
  public long ofArrayByJdk() {
    jdk.reset();
    jdk.update(array, 0, bytes);
    return jdk.getValue();
  }

  @TearDown
  public void tearDown() {
    memory.close();
  }
}
