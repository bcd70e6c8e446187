package dev.dyad.bindings.verbs;

/**
 * How a reliable connection travels.
 *
 * @param port of the device, from 1 on
 * @param gidIndex our entry in the port's table
 * @param mtu {@code IBV_MTU_*}, the same on both sides
 * @param timeout 4.096 µs × 2^timeout until a packet is sent again
 * @param retries how often, 0 to 6: software devices take 7 for "for ever"
 * @param receiverNotReadyRetries 0 to 6: 7 means "for ever"
 * @param trafficClass of the IP header, by which switches tell lossless traffic
 * @param serviceLevel with InfiniBand, or the VLAN priority
 */
public record PathSettings(int port, int gidIndex, int mtu, int timeout, int retries, int receiverNotReadyRetries, int trafficClass, int serviceLevel) {

  public PathSettings {
    if (retries < 0 || retries > 6 || receiverNotReadyRetries < 0 || receiverNotReadyRetries > 6) {
      throw new IllegalArgumentException("retries=" + retries + " receiverNotReadyRetries=" + receiverNotReadyRetries + ": 0 to 6 are bounds, 7 is none");
    }
    if (timeout < 1 || timeout > 31) {
      throw new IllegalArgumentException("timeout=" + timeout + ": 1 to 31 are possible, 0 means for ever");
    }
  }
}
