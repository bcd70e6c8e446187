package dev.dyad.engine.link.rdma;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.verbs.AsyncEvent;
import dev.dyad.bindings.verbs.CompletionChannel;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.Gid;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.PortState;
import dev.dyad.bindings.verbs.ProtectionDomain;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.ReceiveBatch;
import dev.dyad.bindings.verbs.RemoteQueuePair;
import dev.dyad.bindings.verbs.SendBatch;
import dev.dyad.engine.link.StagingRing;
import java.io.IOException;
import java.security.SecureRandom;
import org.jspecify.annotations.Nullable;

/**
 * {@link RdmaPort} on a device: one completion queue for everything, and as many queue pairs as agreed. Made unconnected, so that
 * {@link #hello} can tell the peer what it needs, then {@link #connect}ed.
 */
final class VerbsPort implements RdmaPort {
  private static final long RECEIVE = 1L << 63;
  private static final int QUEUE_PAIR_SHIFT = 32;
  private static final int QUEUE_PAIR_MASK = 0xff;
  private static final int SLOT_BYTES = 128;
  private static final int SIGNALED = IBV_SEND_SIGNALED();
  private static final int SOLICITED = IBV_SEND_SOLICITED();
  private static final int INLINE = IBV_SEND_INLINE();
  private static final int SUCCESS = IBV_WC_SUCCESS();
  private static final int FLUSHED = IBV_WC_WR_FLUSH_ERR();
  private static final int TOLD = IBV_WC_RECV_RDMA_WITH_IMM();

  private final RdmaConfig config;
  private final StagingRing ring;
  private final long ringMask;
  private final Gid gid;
  private final int mtu;
  private final int lid;
  private final int depth;

  private final RdmaContext device;
  private final CompletionChannel channel;
  private final CompletionQueue completions;
  private final MemoryRegion ringRegion;
  private final Mapping messages;
  private final MemoryRegion messageRegion;
  private final QueuePair[] pairs;
  private final SendBatch[] sends;
  private final ReceiveBatch[] receives;
  private final int[] firstPackets;
  private final long[] pairPointers;
  private final int inlineBytes;
  private final @Nullable FenceProbe probe;
  private @Nullable ManagedConnections managed;

  private int queuePairs;
  private int agreedMtu;
  private int stripeBytes;
  private int peerReceives;
  private long peerRing;
  private int peerKey;

  /**
   * @param gid where the device is reached; decides the port
   * @param isReceiving whether the peer will write to the ring
   */
  VerbsPort(RdmaContext device, Gid gid, StagingRing ring, boolean isReceiving, RdmaConfig config) {
    this.device = device;
    this.config = config;
    this.ring = ring;
    this.gid = gid;
    ringMask = ring.capacityBytes() - 1;
    depth = config.sendDepth();
    PortState port = device.port(gid.port());
    lid = port.isEthernet() ? 0 : port.lid();
    mtu = config.mtuBytes() == 0 ? port.activeMtu() : Math.min(port.activeMtu(), Integer.numberOfTrailingZeros(config.mtuBytes()) - 7);
    int pairsMax = isReceiving ? RdmaHello.QUEUE_PAIRS_MAX : config.queuePairs();
    messages = Mapping.anonymous((long) (config.receives() + depth) * SLOT_BYTES);
    try {
      ProtectionDomain domain = ProtectionDomain.of(device);
      channel = CompletionChannel.of(device);
      completions = CompletionQueue.create(device, pairsMax * (depth + config.receives()), channel);
      ringRegion = MemoryRegion.register(domain, ring.baseVirt(), ring.capacityBytes(), isReceiving ? IBV_ACCESS_LOCAL_WRITE() | IBV_ACCESS_REMOTE_WRITE() : 0);
      messageRegion = MemoryRegion.register(domain, messages.hostVirt(), messages.bytes(), IBV_ACCESS_LOCAL_WRITE());
      pairs = new QueuePair[pairsMax];
      sends = new SendBatch[pairsMax];
      receives = new ReceiveBatch[pairsMax];
      firstPackets = new int[pairsMax];
      pairPointers = new long[pairsMax];
      SecureRandom random = new SecureRandom();
      int smallest = Integer.MAX_VALUE;
      for (int i = 0; i < pairsMax; i++) {
        pairs[i] = QueuePair.create(domain, completions, completions, depth, config.receives(), RdmaMessage.BYTES);
        sends[i] = new SendBatch(pairs[i], depth);
        receives[i] = new ReceiveBatch(pairs[i], config.receives());
        firstPackets[i] = random.nextInt(1 << 24);
        pairPointers[i] = pairs[i].pointer();
        smallest = Math.min(smallest, pairs[i].inlineBytes());
      }
      inlineBytes = smallest;
      probe = isReceiving ? new FenceProbe(device, domain) : null;
    } catch (RuntimeException e) {
      device.close();
      messages.close();
      throw e;
    }
  }

  /** What the peer must know. */
  RdmaHello hello() {
    int[] numbers = new int[pairs.length];
    for (int i = 0; i < numbers.length; i++) {
      numbers[i] = pairs[i].number();
    }
    return new RdmaHello(config.tcpWillDo(), config.setup() == RdmaConfig.Setup.CM, pairs.length, PortState.mtuBytes(mtu), gid.high(), gid.low(), ring.baseVirt(), ring.capacityBytes(),
        ringRegion.remoteKey(), lid, config.receives(), config.stripeBytes(), numbers, firstPackets.clone());
  }

  /**
   * Connects to a peer that said {@code peer}; with that the peer may write.
   *
   * @param primary whichever of the two hellos is the primary's
   * @param through who connects, if the primary wants that; owned
   */
  void connect(RdmaHello peer, RdmaHello primary, @Nullable ManagedConnections through) throws IOException {
    managed = through;
    queuePairs = Math.min(pairs.length, primary.queuePairs());
    stripeBytes = primary.stripeBytes();
    peerReceives = peer.receives();
    peerRing = peer.ringVirt();
    peerKey = peer.ringKey();
    agreedMtu = Math.min(mtu, Integer.numberOfTrailingZeros(peer.mtuBytes()) - 7);
    // A receiver that is not ready would be a defect of the credits; a few retries hide no more than a race with its start.
    PathSettings path = new PathSettings(gid.port(), gid.index(), agreedMtu, config.timeout(), config.retries(), config.retries(), config.trafficClass(), 0);
    if (probe != null) {
      probe.connect(path, gid.high(), gid.low(), lid);
    }
    for (int i = 0; i < pairs.length; i++) {
      if (i >= queuePairs) {
        pairs[i].close();
      } else if (through == null) {
        pairs[i].initialize(gid.port(), IBV_ACCESS_REMOTE_WRITE());
        postAllReceives(i);
        pairs[i].readyToReceive(path, new RemoteQueuePair(peer.numbers()[i], peer.firstPackets()[i], peer.gidHigh(), peer.gidLow(), peer.lid()));
        pairs[i].readyToSend(path, firstPackets[i]);
      } else {
        int queuePair = i;
        agreedMtu = through.connect(pairs[i], i, peer.numbers()[i], path, () -> postAllReceives(queuePair));
      }
    }
  }

  private void postAllReceives(int queuePair) {
    for (int slot = 0; slot < config.receives(); slot++) {
      giveBack(queuePair, slot);
    }
    NativeException.check(-postReceives(queuePair), "ibv_post_recv", "receives=" + config.receives());
  }

  String deviceName() {
    return device.name();
  }

  /** What it is, once connected, in one line. */
  String text() {
    return "rdma, " + device.name() + " port " + gid.port() + ", GID " + gid.index() + " (" + gid.address() + "), MTU " + PortState.mtuBytes(agreedMtu) + ", "
        + queuePairs + (queuePairs == 1 ? " queue pair" : " queue pairs") + (managed == null ? "" : ", set up by rdma_cm");
  }

  @Override
  public int queuePairs() {
    return queuePairs;
  }

  @Override
  public int sendDepth() {
    return depth;
  }

  @Override
  public int peerReceives() {
    return peerReceives;
  }

  @Override
  public int stripeBytes() {
    return stripeBytes;
  }

  private static long workId(int queuePair, int number) {
    return ((long) queuePair << QUEUE_PAIR_SHIFT) | Integer.toUnsignedLong(number);
  }

  private int inline(int bytes) {
    return bytes <= inlineBytes ? INLINE : 0;
  }

  @Override
  public void write(int queuePair, long position, int bytes, int count, boolean signalled) {
    sends[queuePair].write(ring.address(position), bytes, ringRegion.localKey(), peerRing + (position & ringMask), peerKey, workId(queuePair, count),
        inline(bytes) | (signalled ? SIGNALED : 0));
  }

  @Override
  public void writeAndTell(int queuePair, long position, int bytes, int told, int count) {
    sends[queuePair].writeWithImmediate(ring.address(position), bytes, ringRegion.localKey(), peerRing + (position & ringMask), peerKey, told,
        workId(queuePair, count), inline(bytes) | SIGNALED | SOLICITED);
  }

  @Override
  public long outgoing(int count) {
    return messages.hostVirt() + (long) (config.receives() + (count & (depth - 1))) * SLOT_BYTES;
  }

  @Override
  public void message(int count, boolean wakes) {
    sends[0].send(outgoing(count), RdmaMessage.BYTES, messageRegion.localKey(), workId(0, count), inline(RdmaMessage.BYTES) | SIGNALED | (wakes ? SOLICITED : 0));
  }

  @Override
  public int post(int queuePair) {
    return sends[queuePair].post();
  }

  @Override
  public long incoming(int slot) {
    return messages.hostVirt() + (long) slot * SLOT_BYTES;
  }

  @Override
  public void giveBack(int queuePair, int slot) {
    // Only queue pair 0 takes messages; a write with immediate needs no memory of its receive.
    receives[queuePair].add(incoming(slot), queuePair == 0 ? RdmaMessage.BYTES : 0, messageRegion.localKey(), RECEIVE | workId(queuePair, slot));
  }

  @Override
  public int postReceives(int queuePair) {
    return receives[queuePair].post();
  }

  @Override
  public int poll() {
    return completions.poll();
  }

  @Override
  public boolean hasFailed(int index) {
    return completions.status(index) != SUCCESS;
  }

  @Override
  public boolean isFlushed(int index) {
    return completions.status(index) == FLUSHED;
  }

  @Override
  public String describe(int index) {
    return "rdma " + device.name() + ": " + completions.describe(index);
  }

  @Override
  public boolean isReceive(int index) {
    return completions.workId(index) < 0;
  }

  @Override
  public int queuePair(int index) {
    return (int) (completions.workId(index) >>> QUEUE_PAIR_SHIFT) & QUEUE_PAIR_MASK;
  }

  @Override
  public int number(int index) {
    return (int) completions.workId(index);
  }

  @Override
  public boolean isTold(int index) {
    return completions.opcode(index) == TOLD;
  }

  @Override
  public int told(int index) {
    return completions.immediate(index);
  }

  @Override
  public int completionFd() {
    return channel.fd();
  }

  @Override
  public void arm(boolean also) {
    completions.arm(!also);
  }

  @Override
  public void disarm() {
    channel.drain();
  }

  @Override
  public int eventFd() {
    return device.asyncFd();
  }

  @Override
  public String event() {
    for (@Nullable AsyncEvent event = device.nextEvent(); event != null; event = device.nextEvent()) {
      if (event.endsLink(gid.port(), pairPointers)) {
        return "rdma " + device.name() + ": " + event.name();
      }
    }
    return "";
  }

  @Override
  public String revoke() {
    int key = ringRegion.remoteKey();
    ringRegion.close();
    return probe == null ? "" : probe.attempt(messages.hostVirt(), messageRegion, ring.baseVirt(), key);
  }

  @Override
  public void close() {
    if (managed != null) {
      managed.close();
    }
    device.close();
    messages.close();
  }
}
