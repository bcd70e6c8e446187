package dev.dyad.perf.micro;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.PacketPort;
import dev.dyad.engine.net.ReleaseGate;
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

/**
 * A frame's way through held output (receive, tag, hold, seal, release) between two ports that cost a copy and no system call; beside it, the
 * copy alone. Nanoseconds a frame; 32 replies of a Redis an epoch.
 */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class HeldOutputBenchmark {
  private static final int FRAMES = 32;
  private static final int FRAME_BYTES = 71;
  private static final int PREFIX_BYTES = 4;
  private static final int BATCH_BYTES = FRAMES * (PREFIX_BYTES + FRAME_BYTES);

  /** Gives one batch of frames for each {@link #ready}, and takes whatever is sent. */
  private static final class MemoryPort implements PacketPort {
    private final long batch;
    private final long sink;
    private boolean ready;

    private MemoryPort(long batch, long sink) {
      this.batch = batch;
      this.sink = sink;
    }

    @Override
    public int prefixBytes() {
      return PREFIX_BYTES;
    }

    @Override
    public long receive(long at, long room) {
      if (!ready) {
        return AGAIN;
      }
      ready = false;
      Memory.copy(batch, at, BATCH_BYTES);
      return BATCH_BYTES;
    }

    @Override
    public long send(long from, long bytes) {
      Memory.copy(from, sink, bytes);
      return bytes;
    }

    @Override
    public int receiveFd() {
      return -1;
    }

    @Override
    public int sendFd() {
      return -1;
    }

    @Override
    public long lostFrames() {
      return 0;
    }

    @Override
    public void close() {
      // Its memory is the benchmark's.
    }
  }

  private Mapping frames;
  private MemoryPort port;
  private EventFd bell;
  private LearnedAddresses learned;
  private OutputEpoch epoch;
  private HeldOutput held;

  @Setup
  public void setUp() {
    frames = Mapping.anonymous(1 << 20);
    for (int i = 0; i < FRAMES; i++) {
      long at = frames.hostVirt() + (long) i * (PREFIX_BYTES + FRAME_BYTES);
      Memory.putInt(at, Integer.reverseBytes(FRAME_BYTES));
      Memory.putShort(at + PREFIX_BYTES + 12, Short.reverseBytes((short) 0x0800));
    }
    port = new MemoryPort(frames.hostVirt(), frames.hostVirt() + (frames.bytes() >> 1));
    bell = new EventFd();
    learned = new LearnedAddresses();
    epoch = new OutputEpoch(1);
    ReleaseGate gate = new ReleaseGate(() -> 1, 1);
    gate.goAlone(1);
    held = new HeldOutput(port, port, gate, epoch, learned, bell, HeldOutput.CAPACITY_BYTES_MIN, false);
    held.hold(0);
  }

  @Benchmark
  @OperationsPerInvocation(FRAMES)
  public void holdAndRelease() {
    port.ready = true;
    held.receive();
    long sealed = epoch.open();
    epoch.seal(sealed);
    held.release(sealed);
  }

  @Benchmark
  @OperationsPerInvocation(FRAMES)
  public void copyOnly() {
    port.ready = true;
    port.receive(frames.hostVirt() + (frames.bytes() >> 1), BATCH_BYTES);
  }

  @TearDown
  public void tearDown() {
    held.close();
    learned.close();
    bell.close();
    frames.close();
  }
}
