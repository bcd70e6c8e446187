package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

/**
 * Something that happened to a device, a port or a queue pair, beside any work request. ibv_get_async_event(3).
 *
 * @param type {@code IBV_EVENT_*}
 * @param name the library's words for it
 * @param element a port's number or the address of a queue pair or completion queue, by type
 */
public record AsyncEvent(int type, String name, long element) {

  /** Whether a link over {@code port} and {@code queuePairs} (addresses) cannot go on after it. */
  public boolean endsLink(int port, long... queuePairs) {
    if (type == IBV_EVENT_DEVICE_FATAL()) {
      return true;
    }
    if (type == IBV_EVENT_PORT_ERR()) {
      return element == port;
    }
    if (type == IBV_EVENT_QP_FATAL() || type == IBV_EVENT_QP_REQ_ERR() || type == IBV_EVENT_QP_ACCESS_ERR()) {
      for (long queuePair : queuePairs) {
        if (queuePair == element) {
          return true;
        }
      }
    }
    return false;
  }
}
