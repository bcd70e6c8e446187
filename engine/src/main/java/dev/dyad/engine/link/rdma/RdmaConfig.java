package dev.dyad.engine.link.rdma;

import java.time.Duration;

/**
 * How a link uses RDMA.
 *
 * @param device name, or empty: the one that has the session's own address
 * @param gidIndex entry of the port's table, or −1: the one of the session's own address
 * @param mtuBytes largest packet, or 0: what both ports can do
 * @param queuePairs 1 to 8; the primary decides
 * @param sendDepth work requests under way on each, a power of two
 * @param receives posted on each
 * @param stripeBytes that go to one queue pair before the next, a power of two; the primary decides
 * @param timeout 4.096 µs × 2^timeout until a packet is sent again
 * @param retries 0 to 6
 * @param trafficClass of the IP header: what the network's lossless class is bound to
 * @param beat how often the peer hears of us when there is nothing else; zero: never
 * @param silence after this time without a word of the peer's the link is down; zero: never
 * @param tcpWillDo whether to use tcp when RDMA cannot be used, if the peer agrees
 */
public record RdmaConfig(String device, int gidIndex, int mtuBytes, int queuePairs, int sendDepth, int receives, int stripeBytes, int timeout, int retries,
    int trafficClass, Duration beat, Duration silence, boolean tcpWillDo) {
  private static final int QUEUE_PAIRS_MAX = 8;

  public RdmaConfig {
    require(queuePairs >= 1 && queuePairs <= QUEUE_PAIRS_MAX, "queuePairs", queuePairs, "1 to " + QUEUE_PAIRS_MAX);
    require(sendDepth >= 16 && sendDepth <= 8192 && Integer.bitCount(sendDepth) == 1, "sendDepth", sendDepth, "a power of two from 16 to 8192");
    require(receives >= 16 && receives <= 8192, "receives", receives, "16 to 8192");
    require(stripeBytes >= 4096 && Integer.bitCount(stripeBytes) == 1, "stripeBytes", stripeBytes, "a power of two from 4096");
    require(retries >= 0 && retries <= 6, "retries", retries, "0 to 6 (7 means for ever)");
    require(timeout >= 1 && timeout <= 31, "timeout", timeout, "1 to 31 (0 means for ever)");
    require(mtuBytes == 0 || (mtuBytes >= 256 && mtuBytes <= 4096 && Integer.bitCount(mtuBytes) == 1), "mtuBytes", mtuBytes, "0, 256, 512, 1024, 2048 or 4096");
  }

  private static void require(boolean fits, String name, int found, String needed) {
    if (!fits) {
      throw new IllegalArgumentException("rdma " + name + "=" + found + ": needed is " + needed);
    }
  }

  /** For a pair of servers on a network of their own: a lost packet is sent again after 17 ms, a dead peer noticed after 500 ms at most. */
  public static RdmaConfig standard() {
    return new RdmaConfig("", -1, 0, 1, 256, 64, 1 << 18, 12, 6, 0, Duration.ofMillis(20), Duration.ofMillis(500), false);
  }

  public RdmaConfig withQueuePairs(int count, int bytesEach) {
    return new RdmaConfig(device, gidIndex, mtuBytes, count, sendDepth, receives, bytesEach, timeout, retries, trafficClass, beat, silence, tcpWillDo);
  }

  public RdmaConfig withTimes(int packetTimeout, Duration beatEach, Duration silenceMax) {
    return new RdmaConfig(device, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, packetTimeout, retries, trafficClass, beatEach, silenceMax,
        tcpWillDo);
  }

  public RdmaConfig withDevice(String name) {
    return new RdmaConfig(name, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, timeout, retries, trafficClass, beat, silence, tcpWillDo);
  }

  public RdmaConfig withTcpWillDo(boolean will) {
    return new RdmaConfig(device, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, timeout, retries, trafficClass, beat, silence, will);
  }
}
