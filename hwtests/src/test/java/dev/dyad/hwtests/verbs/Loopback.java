package dev.dyad.hwtests.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.verbs.CompletionChannel;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.ProtectionDomain;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RdmaDevice;
import dev.dyad.bindings.verbs.ReceiveBatch;
import dev.dyad.bindings.verbs.RemoteQueuePair;
import dev.dyad.bindings.verbs.SendBatch;
import dev.dyad.bindings.verbs.Verbs;
import org.junit.jupiter.api.Assumptions;

/** Two queue pairs of one device, connected to each other, each with memory of its own. */
final class Loopback implements AutoCloseable {
  static final int BYTES = 1 << 16;
  static final int DEPTH = 16;
  private static final long WAIT_NANOS = 120_000_000_000L;

  final Mapping nearMemory = Mapping.anonymous(BYTES);
  final Mapping farMemory = Mapping.anonymous(BYTES);
  final RdmaContext device;
  final ProtectionDomain domain;
  final CompletionChannel channel;
  final CompletionQueue nearQueue;
  final CompletionQueue farQueue;
  final MemoryRegion near;
  final MemoryRegion far;
  final QueuePair nearPair;
  final QueuePair farPair;
  final SendBatch sends;
  final ReceiveBatch receives;

  Loopback() {
    device = openAny();
    Gid gid = device.gids().stream().filter(g -> g.isRoceV2() && g.low() >>> 32 == 0xffff).findFirst()
        .or(() -> device.gids().stream().findFirst()).orElseThrow();
    domain = ProtectionDomain.of(device);
    channel = CompletionChannel.of(device);
    nearQueue = CompletionQueue.create(device, 4 * DEPTH, null);
    farQueue = CompletionQueue.create(device, 4 * DEPTH, channel);
    near = MemoryRegion.register(domain, nearMemory.hostVirt(), BYTES, IBV_ACCESS_LOCAL_WRITE());
    far = MemoryRegion.register(domain, farMemory.hostVirt(), BYTES, IBV_ACCESS_LOCAL_WRITE() | IBV_ACCESS_REMOTE_WRITE());
    nearPair = QueuePair.create(domain, nearQueue, nearQueue, DEPTH, DEPTH, 64);
    farPair = QueuePair.create(domain, farQueue, farQueue, DEPTH, DEPTH, 64);
    // 6 retries of 67 ms: a dead peer is reported within about half a second to two.
    var path = new PathSettings(gid.port(), gid.index(), IBV_MTU_1024(), 14, 6, 6, 0, 0);
    nearPair.initialize(gid.port(), 0);
    farPair.initialize(gid.port(), IBV_ACCESS_REMOTE_WRITE());
    connect(farPair, nearPair, gid, path);
    connect(nearPair, farPair, gid, path);
    sends = new SendBatch(nearPair, DEPTH);
    receives = new ReceiveBatch(farPair, DEPTH);
  }

  private void connect(QueuePair pair, QueuePair peer, Gid gid, PathSettings path) {
    int lid = device.port(gid.port()).lid();
    pair.readyToReceive(path, new RemoteQueuePair(peer.number(), peer.number() & 0xffff, gid.high(), gid.low(), lid));
    pair.readyToSend(path, pair.number() & 0xffff);
  }

  /** The first device with an active port; skips the test where there is none. */
  static RdmaContext openAny() {
    Assumptions.assumeTrue(Verbs.unavailable().isEmpty(), Verbs.unavailable());
    for (var found : RdmaDevice.list()) {
      var context = RdmaContext.open(found.name());
      if (context.port(1).isActive()) {
        return context;
      }
      context.close();
    }
    Assumptions.abort("no RDMA device with an active port here");
    throw new IllegalStateException();
  }

  /** Waits for completions; gives their number. */
  static int await(CompletionQueue queue) {
    long deadline = System.nanoTime() + WAIT_NANOS;
    int count;
    do {
      count = queue.poll();
      Thread.yield();
    } while (count == 0 && System.nanoTime() - deadline < 0);
    return count;
  }

  @Override
  public void close() {
    device.close();
    nearMemory.close();
    farMemory.close();
  }
}
