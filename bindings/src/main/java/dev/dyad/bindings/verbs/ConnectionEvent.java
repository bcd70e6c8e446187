package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import org.jspecify.annotations.Nullable;

/**
 * What the connection manager tells. rdma_get_cm_event(3).
 *
 * @param type {@code RDMA_CM_EVENT_*}
 * @param name the library's words for it
 * @param status 0, a negative errno, or the manager's reason for a refusal
 * @param id whose event it is; null when that was closed meanwhile
 * @param queuePair of a request or response: the peer's number
 * @param told of a request or response: what the peer had told, followed by zeros
 */
public record ConnectionEvent(int type, String name, int status, @Nullable ConnectionId id, int queuePair, byte[] told) {

  /** Whether no connection comes of it. */
  public boolean isFailure() {
    return type == RDMA_CM_EVENT_ADDR_ERROR() || type == RDMA_CM_EVENT_ROUTE_ERROR() || type == RDMA_CM_EVENT_CONNECT_ERROR() || type == RDMA_CM_EVENT_UNREACHABLE()
        || type == RDMA_CM_EVENT_REJECTED() || type == RDMA_CM_EVENT_DEVICE_REMOVAL();
  }

  @Override
  public String toString() {
    return name + " (" + status + ")";
  }
}
