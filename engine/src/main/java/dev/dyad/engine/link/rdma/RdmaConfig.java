package dev.dyad.engine.link.rdma;

import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a link uses RDMA.
 *
 * @param device name, or empty: the one that has the session's own address
 * @param port of the device, from 1 on; 0: the one of the GID
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
 * @param numaNode a device of this node is preferred; −1: none
 * @param tcpWillDo whether to use tcp when RDMA cannot be used, if the peer agrees
 * @param setup the primary decides
 */
public record RdmaConfig(String device, int port, int gidIndex, int mtuBytes, int queuePairs, int sendDepth, int receives, int stripeBytes, int timeout, int retries,
    int trafficClass, Duration beat, Duration silence, int numaNode, boolean tcpWillDo, Setup setup) {
  /** Who connects the queue pairs. The primary decides. */
  public enum Setup {
    /** We do, with what both sides told over the session. */
    TCP,
    /** The kernel's connection manager (rdma_cm) does, and finds the path. */
    CM
  }

  private static final int QUEUE_PAIRS_MAX = 8;
  private static final double TIMEOUT_UNIT_NANOS = 4096;

  public RdmaConfig {
    require(queuePairs >= 1 && queuePairs <= QUEUE_PAIRS_MAX, "queuePairs", queuePairs, "1 to " + QUEUE_PAIRS_MAX);
    require(sendDepth >= 16 && sendDepth <= 8192 && Integer.bitCount(sendDepth) == 1, "sendDepth", sendDepth, "a power of two from 16 to 8192");
    require(receives >= 16 && receives <= 8192, "receives", receives, "16 to 8192");
    require(stripeBytes >= 4096 && Integer.bitCount(stripeBytes) == 1, "stripeBytes", stripeBytes, "a power of two from 4096");
    require(retries >= 0 && retries <= 6, "retries", retries, "0 to 6 (7 means for ever)");
    require(timeout >= 1 && timeout <= 31, "timeout", timeout, "1 to 31 (0 means for ever)");
    require(mtuBytes == 0 || (mtuBytes >= 256 && mtuBytes <= 4096 && Integer.bitCount(mtuBytes) == 1), "mtuBytes", mtuBytes, "0, 256, 512, 1024, 2048 or 4096");
  }

  private static void require(boolean fits, String name, @Nullable Object found, String needed) {
    if (!fits) {
      throw new IllegalArgumentException("rdma " + name + "=" + found + ": needed is " + needed);
    }
  }

  /** For a pair of servers on a network of their own: a lost packet is sent again after 17 ms, a dead peer noticed after 500 ms at most. */
  public static RdmaConfig standard() {
    return new RdmaConfig("", 0, -1, 0, 1, 256, 64, 1 << 18, 12, 6, 0, Duration.ofMillis(20), Duration.ofMillis(500), -1, false, Setup.TCP);
  }

  public RdmaConfig withQueuePairs(int count, int bytesEach) {
    return with(Map.of("queue-pairs", String.valueOf(count), "stripe", String.valueOf(bytesEach)));
  }

  public RdmaConfig withTimes(int packetTimeout, Duration beatEach, Duration silenceMax) {
    return new RdmaConfig(device, port, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, packetTimeout, retries, trafficClass, beatEach, silenceMax, numaNode,
        tcpWillDo, setup);
  }

  public RdmaConfig withDevice(String name) {
    return with(Map.of("device", name));
  }

  public RdmaConfig withTcpWillDo(boolean will) {
    return new RdmaConfig(device, port, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, timeout, retries, trafficClass, beat, silence, numaNode, will, setup);
  }

  /**
   * Times that fit a node's detector: all attempts of the NIC together take about its bound, so that a link is not given up while the peer still counts as
   * alive, and our own beat goes on for longer than the detector waits.
   */
  public RdmaConfig within(Duration bound) {
    double each = bound.toNanos() / (retries + 1.0) / TIMEOUT_UNIT_NANOS;
    int exponent = Math.clamp((int) Math.ceil(Math.log(Math.max(each, 2)) / Math.log(2)), 1, 31);
    return withTimes(exponent, bound.dividedBy(5), bound.multipliedBy(5));
  }

  /** Prefers a device of the NUMA node that a core belongs to. @param core −1 for any */
  public RdmaConfig nearCore(int core) {
    int node = -1;
    String[] entries = core < 0 ? null : Path.of("/sys/devices/system/cpu/cpu" + core).toFile().list();
    for (String entry : entries == null ? new String[0] : entries) {
      if (entry.matches("node\\d+")) {
        node = Integer.parseInt(entry.substring(4));
      }
    }
    return new RdmaConfig(device, port, gidIndex, mtuBytes, queuePairs, sendDepth, receives, stripeBytes, timeout, retries, trafficClass, beat, silence, node, tcpWillDo,
        setup);
  }

  /**
   * By names: device, port, gid, mtu, queue-pairs, depth, receives, stripe, timeout, retries, traffic-class, beat-ms, silence-ms, setup.
   *
   * @throws IllegalArgumentException with one line for a name or value that is none
   */
  public RdmaConfig with(Map<String, String> options) {
    Map<String, String> left = new HashMap<>(options);
    String name = left.remove("device");
    String connects = left.remove("setup");
    require(connects == null || connects.matches("cm|tcp"), "setup", connects, "cm or tcp");
    RdmaConfig changed = new RdmaConfig(name == null ? device : name, number(left, "port", port), number(left, "gid", gidIndex), number(left, "mtu", mtuBytes),
        number(left, "queue-pairs", queuePairs), number(left, "depth", sendDepth), number(left, "receives", receives), number(left, "stripe", stripeBytes),
        number(left, "timeout", timeout), number(left, "retries", retries), number(left, "traffic-class", trafficClass),
        Duration.ofMillis(number(left, "beat-ms", (int) beat.toMillis())), Duration.ofMillis(number(left, "silence-ms", (int) silence.toMillis())), numaNode, tcpWillDo,
        connects == null ? setup : connects.equals("cm") ? Setup.CM : Setup.TCP);
    if (!left.isEmpty()) {
      throw new IllegalArgumentException("no such option of rdma: " + String.join(", ", left.keySet())
          + "; there are device, port, gid, mtu, queue-pairs, depth, receives, stripe, timeout, retries, traffic-class, beat-ms, silence-ms, setup");
    }
    return changed;
  }

  private static int number(Map<String, String> options, String name, int usual) {
    String value = options.remove(name);
    try {
      return value == null ? usual : Integer.parseInt(value);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("rdma " + name + "=" + value + ": needed is a number", e);
    }
  }
}
