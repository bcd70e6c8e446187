package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.RDMA_CM_EVENT_CONNECT_REQUEST;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.abi.verbs.rdma_cm_event;
import dev.dyad.bindings.abi.verbs.rdma_conn_param;
import dev.dyad.bindings.abi.verbs.rdma_event_channel;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import java.lang.foreign.Arena;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Where the kernel's connection manager tells what becomes of connections; closing it closes them. One thread. rdma_create_event_channel(3),
 * rdma_get_cm_event(3).
 */
public final class ConnectionChannel extends VerbsObject {

  private static final int NAME_BYTES = 256;

  private final Map<Long, ConnectionId> ids = new HashMap<>();
  private final long pointer;
  private final int fd;

  private ConnectionChannel(long pointer) {
    this.pointer = pointer;
    fd = Memory.getInt(pointer + rdma_event_channel.fd$offset());
    FileDescriptor descriptor = FileDescriptor.adopt(fd);
    descriptor.setNonBlocking(true);
    descriptor.release();
  }

  /** @throws NativeException ENODEV or ENOENT without the kernel's module rdma_ucm */
  public static ConnectionChannel create() {
    return new ConnectionChannel(Verbs.pointer("rdma_create_event_channel", "is the kernel's module rdma_ucm loaded?", 0));
  }

  long pointer() {
    requireOpen();
    return pointer;
  }

  /** Polls readable when {@link #next} has an event. */
  public int fd() {
    return fd;
  }

  void know(ConnectionId id) {
    ids.put(id.pointer(), id);
  }

  void forget(long id) {
    ids.remove(id);
  }

  /** The next event, or null; never waits. Who asks to connect comes with a connection of his own, closed by the caller or with this. */
  public @Nullable ConnectionEvent next() {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(Long.BYTES, Long.BYTES).address();
      int errno = Verbs.status("rdma_get_cm_event", pointer(), at);
      if (errno == linux_h.EAGAIN()) {
        return null;
      }
      if (errno != 0) {
        throw new NativeException("rdma_get_cm_event", errno, "fd=" + fd);
      }
      long event = Memory.getLong(at);
      int type = Memory.getInt(event + rdma_cm_event.event$offset());
      long id = Memory.getLong(event + rdma_cm_event.id$offset());
      ConnectionId of = type == RDMA_CM_EVENT_CONNECT_REQUEST() ? new ConnectionId(this, id) : ids.get(id);
      long parameters = event + rdma_cm_event.param$offset();
      byte[] told = new byte[Byte.toUnsignedInt(Memory.getByte(parameters + rdma_conn_param.private_data_len$offset()))];
      long data = Memory.getLong(parameters + rdma_conn_param.private_data$offset());
      if (data == 0) {
        told = new byte[0];
      } else {
        Memory.copyTo(data, told, 0, told.length);
      }
      ConnectionEvent result = new ConnectionEvent(type, Memory.getString(Verbs.call("rdma_event_str", type).value(), NAME_BYTES),
          Memory.getInt(event + rdma_cm_event.status$offset()), of, Memory.getInt(parameters + rdma_conn_param.qp_num$offset()), told);
      // At once: destroying a connection waits for its events to be acknowledged.
      Verbs.check("rdma_ack_cm_event", result.name(), event);
      return result;
    }
  }

  @Override
  void destroy() {
    Verbs.call("rdma_destroy_event_channel", pointer);
  }

  @Override
  public String toString() {
    return "connection channel";
  }
}
