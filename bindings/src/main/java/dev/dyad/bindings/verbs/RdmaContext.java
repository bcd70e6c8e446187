package dev.dyad.bindings.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;

import dev.dyad.bindings.abi.verbs.ibv_async_event;
import dev.dyad.bindings.abi.verbs.ibv_context;
import dev.dyad.bindings.abi.verbs.ibv_context_ops;
import dev.dyad.bindings.abi.verbs.ibv_device_attr;
import dev.dyad.bindings.abi.verbs.ibv_gid_entry;
import dev.dyad.bindings.abi.verbs.ibv_port_attr;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.InetAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** An opened device: where domains, completion queues and channels come from. ibv_open_device(3). */
public final class RdmaContext extends VerbsObject {

  private static final int GIDS_MAX = 256;
  private static final int NAME_BYTES = 256;

  private final String name;
  private final long context;
  private final MemorySegment postSend;
  private final MemorySegment postReceive;
  private final MemorySegment pollCompletions;
  private final MemorySegment requestNotify;

  private RdmaContext(String name, long context) {
    this.name = name;
    this.context = context;
    long ops = context + ibv_context.ops$offset();
    postSend = function(ops + ibv_context_ops.post_send$offset());
    postReceive = function(ops + ibv_context_ops.post_recv$offset());
    pollCompletions = function(ops + ibv_context_ops.poll_cq$offset());
    requestNotify = function(ops + ibv_context_ops.req_notify_cq$offset());
    // Otherwise ibv_get_async_event would wait for ever.
    FileDescriptor events = FileDescriptor.adopt(asyncFd());
    events.setNonBlocking(true);
    events.release();
  }

  private static MemorySegment function(long at) {
    return MemorySegment.ofAddress(Memory.getLong(at));
  }

  /**
   * Opens a device by its name.
   *
   * @throws NativeException ENODEV when there is none of this name
   */
  public static RdmaContext open(String name) {
    long[] opened = new long[1];
    RdmaDevice.visit((found, pointer) -> {
      if (found.equals(name)) {
        opened[0] = Verbs.pointer("ibv_open_device", name, pointer);
      }
    });
    if (opened[0] == 0) {
      throw new NativeException("ibv_open_device", dev.dyad.bindings.abi.linux.linux_h.ENODEV(), name);
    }
    return new RdmaContext(name, opened[0]);
  }

  public String name() {
    return name;
  }

  long pointer() {
    requireOpen();
    return context;
  }

  MemorySegment postSend() {
    return postSend;
  }

  MemorySegment postReceive() {
    return postReceive;
  }

  MemorySegment pollCompletions() {
    return pollCompletions;
  }

  MemorySegment requestNotify() {
    return requestNotify;
  }

  /** Limits of the device that bound what a link asks for. */
  public record Limits(int queuePairWork, int completionEntries, int scatterEntries, int physicalPorts) {}

  public Limits limits() {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(ibv_device_attr.layout()).address();
      Verbs.check("ibv_query_device", name, pointer(), at);
      return new Limits(Memory.getInt(at + ibv_device_attr.max_qp_wr$offset()), Memory.getInt(at + ibv_device_attr.max_cqe$offset()),
          Memory.getInt(at + ibv_device_attr.max_sge$offset()),
          Byte.toUnsignedInt(Memory.getByte(at + ibv_device_attr.phys_port_cnt$offset())));
    }
  }

  /** @param number from 1 on */
  public PortState port(int number) {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(ibv_port_attr.layout()).address();
      Verbs.check("ibv_query_port", name + " port " + number, pointer(), number, at);
      return new PortState(number, Memory.getInt(at + ibv_port_attr.state$offset()), Memory.getInt(at + ibv_port_attr.active_mtu$offset()),
          Byte.toUnsignedInt(Memory.getByte(at + ibv_port_attr.link_layer$offset())),
          Short.toUnsignedInt(Memory.getShort(at + ibv_port_attr.lid$offset())), Memory.getInt(at + ibv_port_attr.gid_tbl_len$offset()));
    }
  }

  /** All entries in use, of all ports. */
  public List<Gid> gids() {
    try (Arena arena = Arena.ofConfined()) {
      long bytes = ibv_gid_entry.sizeof();
      long at = arena.allocate(bytes * GIDS_MAX, 8).address();
      Verbs.Result result = Verbs.call("_ibv_query_gid_table", pointer(), at, GIDS_MAX, 0, bytes);
      if (result.value() < 0) {
        throw new NativeException("ibv_query_gid_table", (int) -result.value(), name);
      }
      List<Gid> gids = new ArrayList<>();
      for (long entry = at; entry < at + result.value() * bytes; entry += bytes) {
        long gid = entry + ibv_gid_entry.gid$offset();
        gids.add(new Gid(Memory.getInt(entry + ibv_gid_entry.port_num$offset()), Memory.getInt(entry + ibv_gid_entry.gid_index$offset()),
            Memory.getInt(entry + ibv_gid_entry.gid_type$offset()), Long.reverseBytes(Memory.getLong(gid)),
            Long.reverseBytes(Memory.getLong(gid + 8)), Memory.getInt(entry + ibv_gid_entry.ndev_ifindex$offset())));
      }
      return gids;
    }
  }

  /** The entry under which an address of this host travels over this device, RoCE version 2 where the port is Ethernet. */
  public Optional<Gid> gidOf(InetAddress local) {
    return gids().stream().filter(gid -> gid.isOf(local) && (gid.isRoceV2() || !port(gid.port()).isEthernet())).findFirst();
  }

  /** Polls readable when {@link #nextEvent} has one. */
  public int asyncFd() {
    return Memory.getInt(context + ibv_context.async_fd$offset());
  }

  /** The next asynchronous event, or null; never waits. */
  public @Nullable AsyncEvent nextEvent() {
    try (Arena arena = Arena.ofConfined()) {
      long at = arena.allocate(ibv_async_event.layout()).address();
      if (Verbs.status("ibv_get_async_event", pointer(), at) != 0) {
        return null; // EAGAIN
      }
      int type = Memory.getInt(at + ibv_async_event.event_type$offset());
      long word = Memory.getLong(at);
      boolean ofPort = type == IBV_EVENT_PORT_ACTIVE() || type == IBV_EVENT_PORT_ERR() || type == IBV_EVENT_LID_CHANGE()
          || type == IBV_EVENT_PKEY_CHANGE() || type == IBV_EVENT_GID_CHANGE() || type == IBV_EVENT_SM_CHANGE()
          || type == IBV_EVENT_CLIENT_REREGISTER();
      String text = Memory.getString(Verbs.call("ibv_event_type_str", type).value(), NAME_BYTES);
      // At once: destroying a queue pair waits for its events to be acknowledged.
      Verbs.call("ibv_ack_async_event", at);
      return new AsyncEvent(type, text, ofPort ? (int) word : word);
    }
  }

  @Override
  void destroy() {
    Verbs.check("ibv_close_device", name, context);
  }

  @Override
  public String toString() {
    return "RDMA device " + name;
  }
}
