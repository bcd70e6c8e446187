package dev.dyad.engine.link.rdma;

import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_ACCESS_REMOTE_WRITE;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_SEND_SIGNALED;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_WC_REM_ACCESS_ERR;
import static dev.dyad.bindings.abi.verbs.verbs_h.IBV_WC_SUCCESS;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.ProtectionDomain;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.RemoteQueuePair;
import dev.dyad.bindings.verbs.SendBatch;

/**
 * Two queue pairs of one device, connected to each other beside a link's, with which a side tries for itself whether the device still lets a
 * holder of a key write: a write like the old primary's, with the bytes that are there already.
 *
 * <p>Thread: the link's. Made and connected with the link, used once. What it holds is closed with the device.
 */
final class FenceProbe {
  private static final int BYTES = Long.BYTES;
  private static final int FIRST_PACKET = 1;
  private static final int WORK_REQUESTS = 2;
  private static final long BOUND_NANOS = 50_000_000;

  private final CompletionQueue completions;
  private final QueuePair near;
  private final QueuePair far;
  private final SendBatch sends;

  FenceProbe(RdmaContext device, ProtectionDomain domain) {
    completions = CompletionQueue.create(device, 2 * WORK_REQUESTS, null);
    near = QueuePair.create(domain, completions, completions, WORK_REQUESTS, 1, 0);
    far = QueuePair.create(domain, completions, completions, WORK_REQUESTS, 1, 0);
    sends = new SendBatch(near, 1);
  }

  /** @param path of the link, whose own address the probe's packets come back to */
  void connect(PathSettings path, long gidHigh, long gidLow, int lid) {
    near.initialize(path.port(), 0);
    far.initialize(path.port(), IBV_ACCESS_REMOTE_WRITE());
    far.readyToReceive(path, new RemoteQueuePair(near.number(), FIRST_PACKET, gidHigh, gidLow, lid));
    near.readyToReceive(path, new RemoteQueuePair(far.number(), FIRST_PACKET, gidHigh, gidLow, lid));
    far.readyToSend(path, FIRST_PACKET);
    near.readyToSend(path, FIRST_PACKET);
  }

  /**
   * Tries to write.
   *
   * @param scratch of a region that is registered, {@value #BYTES} bytes
   * @param target where the key let its holders write
   * @return what it shows, in words
   * @throws IllegalStateException when the device carried the write out
   */
  String attempt(long scratch, MemoryRegion scratchRegion, long target, int key) {
    Memory.copy(target, scratch, BYTES);
    sends.write(scratch, BYTES, scratchRegion.localKey(), target, key, 0, IBV_SEND_SIGNALED());
    int errno = sends.post();
    if (errno != 0) {
      return "the region is gone; no write of our own could be tried (errno " + errno + ")";
    }
    long start = System.nanoTime();
    int count = 0;
    while (count == 0 && System.nanoTime() - start < BOUND_NANOS) {
      count = completions.poll();
    }
    if (count > 0 && completions.status(0) == IBV_WC_SUCCESS()) {
      throw new IllegalStateException("the device still writes for a key that was taken back; nothing may be promoted over it");
    }
    if (count > 0 && completions.status(0) == IBV_WC_REM_ACCESS_ERR()) {
      return "a write of our own with the same key was refused";
    }
    // A port that is down carries no packet, not even to itself; then nobody else's arrives either.
    return "the region is gone; a write of our own came to nothing" + (count > 0 ? " (" + CompletionQueue.statusName(completions.status(0)) + ")" : "");
  }
}
