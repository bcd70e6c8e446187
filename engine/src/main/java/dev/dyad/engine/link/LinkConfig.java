package dev.dyad.engine.link;

import dev.dyad.engine.link.rdma.RdmaConfig;
import java.time.Duration;
import java.util.Map;

/**
 * Over what two hosts replicate. Two sides of one host that meet at a unix socket share memory, whatever stands here.
 *
 * @param wish what is used
 * @param rdma how, if it is RDMA
 * @param spinNanos how long the thread that drives the link looks for more after the last work before it sleeps; 0: not at all
 */
public record LinkConfig(Wish wish, RdmaConfig rdma, long spinNanos) {
  /** What a side wants. */
  public enum Wish {
    /** RDMA where both sides can, else tcp. */
    AUTO,
    /** RDMA or nothing. */
    RDMA,
    /** Only tcp. */
    TCP
  }

  public static LinkConfig standard() {
    return new LinkConfig(Wish.AUTO, RdmaConfig.standard(), 0);
  }

  /**
   * @param bound of the node's detector, which the link's own times follow
   * @param core that drives the link, −1 for any: a device near it is preferred
   * @param options of RDMA by name, see {@link RdmaConfig#with}
   */
  public static LinkConfig of(Wish wish, Duration bound, int core, Map<String, String> options) {
    return new LinkConfig(wish, RdmaConfig.standard().within(bound).nearCore(core).with(options), 0);
  }

  public LinkConfig withSpin(long nanos) {
    return new LinkConfig(wish, rdma, nanos);
  }
}
