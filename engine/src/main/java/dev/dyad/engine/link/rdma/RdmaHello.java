package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.abi.wire.dyad_rdma_hello;
import dev.dyad.bindings.abi.wire.wire_h;
import dev.dyad.engine.wire.Wire;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * What one side tells the other before the first write, {@code dyad_rdma_hello}.
 *
 * @param managed of the primary: the connection manager connects the queue pairs
 * @param queuePairs 0: there is no RDMA on that side
 * @param gidHigh in network order
 * @param gidLow in network order
 * @param numbers of the queue pairs
 * @param firstPackets of the queue pairs
 */
record RdmaHello(boolean tcpWillDo, boolean managed, int queuePairs, int mtuBytes, long gidHigh, long gidLow, long ringVirt, long ringBytes, int ringKey, int lid, int receives,
    int stripeBytes, int[] numbers, int[] firstPackets) {
  static final int BYTES = (int) dyad_rdma_hello.sizeof();
  static final int QUEUE_PAIRS_MAX = wire_h.DYAD_RDMA_QUEUE_PAIRS_MAX();

  private static final int MAGIC = wire_h.DYAD_RDMA_MAGIC();
  private static final int TCP_WILL_DO = wire_h.DYAD_RDMA_TCP_WILL_DO();
  private static final int MANAGED = wire_h.DYAD_RDMA_MANAGED();
  private static final int MAGIC_AT = (int) dyad_rdma_hello.magic$offset();
  private static final int VERSION_AT = (int) dyad_rdma_hello.version$offset();
  private static final int FLAGS_AT = (int) dyad_rdma_hello.flags$offset();
  private static final int QUEUE_PAIRS_AT = (int) dyad_rdma_hello.queue_pairs$offset();
  private static final int MTU_BYTES_AT = (int) dyad_rdma_hello.mtu_bytes$offset();
  private static final int GID_AT = (int) dyad_rdma_hello.gid$offset();
  private static final int RING_VIRT_AT = (int) dyad_rdma_hello.ring_virt$offset();
  private static final int RING_BYTES_AT = (int) dyad_rdma_hello.ring_bytes$offset();
  private static final int RING_KEY_AT = (int) dyad_rdma_hello.ring_key$offset();
  private static final int LID_AT = (int) dyad_rdma_hello.lid$offset();
  private static final int RECEIVES_AT = (int) dyad_rdma_hello.receives$offset();
  private static final int STRIPE_BYTES_AT = (int) dyad_rdma_hello.stripe_bytes$offset();
  private static final int QUEUE_PAIR_AT = (int) dyad_rdma_hello.queue_pair$offset();
  private static final int FIRST_PACKET_AT = (int) dyad_rdma_hello.first_packet$offset();

  /** Of a side that cannot. */
  static RdmaHello none(boolean tcpWillDo) {
    return new RdmaHello(tcpWillDo, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, new int[0], new int[0]);
  }

  byte[] encode() {
    ByteBuffer out = ByteBuffer.allocate(BYTES).order(ByteOrder.LITTLE_ENDIAN);
    out.putInt(MAGIC_AT, MAGIC).putShort(VERSION_AT, (short) Wire.VERSION).putShort(FLAGS_AT, (short) ((tcpWillDo ? TCP_WILL_DO : 0) | (managed ? MANAGED : 0)));
    out.putInt(QUEUE_PAIRS_AT, queuePairs).putInt(MTU_BYTES_AT, mtuBytes);
    out.order(ByteOrder.BIG_ENDIAN).putLong(GID_AT, gidHigh).putLong(GID_AT + Long.BYTES, gidLow).order(ByteOrder.LITTLE_ENDIAN);
    out.putLong(RING_VIRT_AT, ringVirt).putLong(RING_BYTES_AT, ringBytes).putInt(RING_KEY_AT, ringKey).putInt(LID_AT, lid);
    out.putInt(RECEIVES_AT, receives).putInt(STRIPE_BYTES_AT, stripeBytes);
    for (int i = 0; i < numbers.length; i++) {
      out.putInt(QUEUE_PAIR_AT + i * Integer.BYTES, numbers[i]).putInt(FIRST_PACKET_AT + i * Integer.BYTES, firstPackets[i]);
    }
    return out.array();
  }

  /**
   * Reads what a peer sent, and believes nothing that would not work.
   *
   * @param ringBytes that both sides use
   */
  static RdmaHello decode(byte[] bytes, long ringBytes) throws IOException {
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    require(bytes.length == BYTES && in.getInt(MAGIC_AT) == MAGIC, "is no rdma hello");
    require(in.getShort(VERSION_AT) == Wire.VERSION, "has version " + in.getShort(VERSION_AT) + ", here is " + Wire.VERSION);
    int flags = Short.toUnsignedInt(in.getShort(FLAGS_AT));
    require((flags & ~(TCP_WILL_DO | MANAGED)) == 0, "has unknown flags " + flags);
    boolean tcpWillDo = (flags & TCP_WILL_DO) != 0;
    int pairs = in.getInt(QUEUE_PAIRS_AT);
    require(pairs >= 0 && pairs <= QUEUE_PAIRS_MAX, "names " + pairs + " queue pairs, possible are 0 to " + QUEUE_PAIRS_MAX);
    if (pairs == 0) {
      return none(tcpWillDo);
    }
    int mtuBytes = in.getInt(MTU_BYTES_AT);
    require(mtuBytes >= 256 && mtuBytes <= 4096 && Integer.bitCount(mtuBytes) == 1, "names an MTU of " + mtuBytes);
    require(in.getLong(RING_BYTES_AT) == ringBytes, "names a ring of " + in.getLong(RING_BYTES_AT) + " bytes, agreed are " + ringBytes);
    int receives = in.getInt(RECEIVES_AT);
    require(receives >= wire_h.DYAD_RDMA_RECEIVES_MIN() && receives <= 1 << 16, "has " + receives + " receives");
    int stripe = in.getInt(STRIPE_BYTES_AT);
    require(stripe >= 4096 && Integer.bitCount(stripe) == 1, "has stripes of " + stripe + " bytes");
    int[] numbers = new int[pairs];
    int[] firstPackets = new int[pairs];
    for (int i = 0; i < pairs; i++) {
      numbers[i] = in.getInt(QUEUE_PAIR_AT + i * Integer.BYTES);
      firstPackets[i] = in.getInt(FIRST_PACKET_AT + i * Integer.BYTES);
      require(numbers[i] >>> 24 == 0 && firstPackets[i] >>> 24 == 0, "names queue pair " + numbers[i] + " with first packet " + firstPackets[i]);
    }
    in.order(ByteOrder.BIG_ENDIAN);
    long high = in.getLong(GID_AT);
    long low = in.getLong(GID_AT + Long.BYTES);
    in.order(ByteOrder.LITTLE_ENDIAN);
    return new RdmaHello(tcpWillDo, (flags & MANAGED) != 0, pairs, mtuBytes, high, low, in.getLong(RING_VIRT_AT), ringBytes, in.getInt(RING_KEY_AT), in.getInt(LID_AT), receives, stripe,
        numbers, firstPackets);
  }

  private static void require(boolean fits, String what) throws IOException {
    if (!fits) {
      throw new IOException("the peer's rdma hello " + what);
    }
  }
}
