package dev.dyad.perf.link;

import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_ACCESS_LOCAL_WRITE;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_ACCESS_REMOTE_WRITE;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_SEND_SIGNALED;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_WC_SUCCESS;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.ProtectionDomain;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RemoteQueuePair;
import dev.dyad.bindings.verbs.SendBatch;
import dev.dyad.perf.NativeProgram;
import java.io.IOException;
import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * What posting RDMA writes costs the thread that posts them, in Java and in {@code perf/native/rdma_post.c}: the same steps on one device,
 * nanoseconds of the thread's own CPU time for each write, medians, without what reading the clock takes. Java's is taken when its compilers are at rest: on an
 * emulated host they need seconds for what a server's have done before the first epoch. One thread.
 */
final class PostCost {
  static final int BYTES = 64;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
  private static final int BATCH = 64;
  private static final int ROUNDS = 1000;
  private static final int FIRST_PACKET = 7;
  private static final long CALM_NANOS = 5_000_000_000L;
  private static final long WARM_UP_NANOS_MAX = 60_000_000_000L;

  private final String device;
  private final int gidIndex;

  PostCost(String device, int gidIndex) {
    this.device = device;
    this.gidIndex = gidIndex;
  }

  /** @return nanoseconds for a write */
  double inC() throws IOException {
    Process process = new ProcessBuilder(NativeProgram.build("rdma_post", "-libverbs").toString(), device, String.valueOf(gidIndex), String.valueOf(ROUNDS))
        .redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    try {
      if (process.waitFor() != 0) {
        throw new IOException("rdma_post: " + said);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while rdma_post ran", e);
    }
    return Double.parseDouble(said);
  }

  /** @return nanoseconds for a write */
  double inJava() {
    try (RdmaContext context = RdmaContext.open(device);
        Mapping memory = Mapping.anonymous(2L * BATCH * BYTES)) {
      Gid gid = context.gids().stream().filter(g -> g.index() == gidIndex).findFirst().orElseThrow();
      ProtectionDomain domain = ProtectionDomain.of(context);
      CompletionQueue completions = CompletionQueue.create(context, 4 * BATCH, null);
      MemoryRegion region = MemoryRegion.register(domain, memory.hostVirt(), memory.bytes(), IBV_ACCESS_LOCAL_WRITE() | IBV_ACCESS_REMOTE_WRITE());
      QueuePair near = QueuePair.create(domain, completions, completions, 2 * BATCH, 1, 0);
      QueuePair far = QueuePair.create(domain, completions, completions, 2 * BATCH, 1, 0);
      near.initialize(gid.port(), IBV_ACCESS_REMOTE_WRITE());
      far.initialize(gid.port(), IBV_ACCESS_REMOTE_WRITE());
      connect(context, far, near, gid);
      connect(context, near, far, gid);
      return median(new SendBatch(near, BATCH), completions, region);
    }
  }

  private static void connect(RdmaContext context, QueuePair pair, QueuePair peer, Gid gid) {
    var port = context.port(gid.port());
    var path = new PathSettings(gid.port(), gid.index(), port.activeMtu(), 17, 6, 6, 0, 0);
    pair.readyToReceive(path, new RemoteQueuePair(peer.number(), FIRST_PACKET, gid.high(), gid.low(), port.lid()));
    pair.readyToSend(path, FIRST_PACKET);
  }

  private static double median(SendBatch sends, CompletionQueue completions, MemoryRegion region) {
    CompilationMXBean compilers = ManagementFactory.getCompilationMXBean();
    long begin = System.nanoTime();
    long compiled = -1;
    long calmSince = begin;
    while (System.nanoTime() - calmSince < CALM_NANOS && System.nanoTime() - begin < WARM_UP_NANOS_MAX) {
      round(sends, completions, region);
      if (compilers != null && compilers.getTotalCompilationTime() != compiled) {
        compiled = compilers.getTotalCompilationTime();
        calmSince = System.nanoTime();
      }
    }
    long[] times = new long[ROUNDS];
    long[] clock = new long[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
      times[i] = round(sends, completions, region);
      clock[i] = -THREADS.getCurrentThreadCpuTime() + THREADS.getCurrentThreadCpuTime();
    }
    Arrays.sort(times);
    Arrays.sort(clock);
    return (double) (times[ROUNDS / 2] - clock[ROUNDS / 2]) / BATCH;
  }

  /** A batch is filled in, posted, and waited for. @return CPU time of the first two, in nanoseconds */
  private static long round(SendBatch sends, CompletionQueue completions, MemoryRegion region) {
    long start = THREADS.getCurrentThreadCpuTime();
    int errno = post(sends, region);
    long nanos = THREADS.getCurrentThreadCpuTime() - start;
    if (errno != 0) {
      throw new NativeException("ibv_post_send", errno, "batch=" + BATCH);
    }
    int count;
    do {
      count = completions.poll();
    } while (count == 0);
    if (count < 0 || completions.status(0) != IBV_WC_SUCCESS()) {
      throw new IllegalStateException("a write failed: " + (count < 0 ? "ibv_poll_cq" : completions.describe(0)));
    }
    return nanos;
  }

  private static int post(SendBatch sends, MemoryRegion region) {
    long from = region.hostVirt();
    long to = from + (long) BATCH * BYTES;
    for (int i = 0; i < BATCH; i++) {
      sends.write(from + (long) i * BYTES, BYTES, region.localKey(), to + (long) i * BYTES, region.remoteKey(), i, i + 1 < BATCH ? 0 : IBV_SEND_SIGNALED());
    }
    return sends.post();
  }
}
