package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

/**
 * What ibv_query_port(3) tells of a port.
 *
 * @param state {@code IBV_PORT_*}
 * @param activeMtu {@code IBV_MTU_*}, see {@link #activeMtuBytes}
 * @param linkLayer {@code IBV_LINK_LAYER_*}
 * @param lid local identifier; 0 with RoCE
 * @param gids entries in its table
 */
public record PortState(int number, int state, int activeMtu, int linkLayer, int lid, int gids) {

  public boolean isActive() {
    return state == IBV_PORT_ACTIVE();
  }

  public boolean isEthernet() {
    return linkLayer == IBV_LINK_LAYER_ETHERNET();
  }

  public int activeMtuBytes() {
    return mtuBytes(activeMtu);
  }

  /** {@code IBV_MTU_256} is 1, and each next doubles. */
  public static int mtuBytes(int mtu) {
    return 128 << mtu;
  }
}
