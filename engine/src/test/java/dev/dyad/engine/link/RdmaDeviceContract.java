package dev.dyad.engine.link;

/** The contract over this host's RDMA device alone, for hosts whose other links are not in question. */
public final class RdmaDeviceContract extends LinkContract {
  public RdmaDeviceContract() {
    super(LinkPair.Kind.RDMA_DEVICE);
  }
}
