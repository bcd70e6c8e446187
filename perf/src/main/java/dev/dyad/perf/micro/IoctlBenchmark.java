package dev.dyad.perf.micro;

import dev.dyad.bindings.abi.kvm.kvm_h;
import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Ioctl;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** An ioctl that does nothing: what calling the kernel costs. Needs {@code /dev/kvm}. */
@SuppressWarnings("NullAway.Init") // JMH calls setUp first
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class IoctlBenchmark {
  private FileDescriptor kvm;
  private int fd;

  @Setup
  public void setUp() {
    kvm = Files.open("/dev/kvm", linux_h.O_RDWR());
    fd = kvm.fd();
  }

  @Benchmark
  public long getApiVersion() {
    return Ioctl.call(fd, kvm_h.KVM_GET_API_VERSION(), 0);
  }

  @TearDown
  public void tearDown() {
    kvm.close();
  }
}
