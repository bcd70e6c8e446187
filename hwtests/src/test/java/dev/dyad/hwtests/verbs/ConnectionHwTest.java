package dev.dyad.hwtests.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.ConnectionChannel;
import dev.dyad.bindings.verbs.ConnectionEvent;
import dev.dyad.bindings.verbs.ConnectionId;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.ProtectionDomain;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.ReceiveBatch;
import dev.dyad.bindings.verbs.SendBatch;
import dev.dyad.bindings.verbs.VerbsObject;
import dev.dyad.engine.link.rdma.RdmaConfig;
import dev.dyad.engine.link.rdma.RdmaPairs;
import java.util.Arrays;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** Connections that the kernel's connection manager makes, from this host's device to itself. */
final class ConnectionHwTest {
  private static final int MILLIS = 120_000;
  private static final byte[] ASKED = {1, 2, 3, 4};
  private static final byte[] ANSWERED = {5, 6, 7};
  private static final PathSettings PATIENCE = new PathSettings(1, 0, IBV_MTU_1024(), 14, 6, 6, 0, 0);

  /** A listener at this host's own address, and a caller with its route. */
  private static final class Call implements AutoCloseable {
    final RdmaContext device = Loopback.openAny(); // first: skips where there is none
    final ConnectionChannel channel = ConnectionChannel.create();
    final ConnectionId listener = ConnectionId.create(channel);
    final ConnectionId caller = ConnectionId.create(channel);
    final CompletionQueue completions;
    final QueuePair near;
    final QueuePair far;
    final ProtectionDomain domain;

    /** @param port 0: the listener's */
    Call(int port) {
      domain = ProtectionDomain.of(device);
      completions = CompletionQueue.create(device, 16, null);
      near = QueuePair.create(domain, completions, completions, 4, 4, 0);
      far = QueuePair.create(domain, completions, completions, 4, 4, 0);
      String host = RdmaPairs.deviceAddress().orElseThrow();
      listener.bind(SocketAddress.inet(host, 0));
      listener.listen(1);
      assertTrue(listener.port() > 0);
      caller.resolveAddress(SocketAddress.inet(host, 0), SocketAddress.inet(host, port == 0 ? listener.port() : port), MILLIS);
      await(channel, RDMA_CM_EVENT_ADDR_RESOLVED());
      assertEquals(device.name(), caller.deviceName());
      caller.resolveRoute(MILLIS);
      await(channel, RDMA_CM_EVENT_ROUTE_RESOLVED());
      near.initialize(caller, 0);
    }

    ConnectionId ask() {
      caller.connect(near, ASKED);
      ConnectionEvent asked = await(channel, RDMA_CM_EVENT_CONNECT_REQUEST());
      assertArrayEquals(ASKED, Arrays.copyOf(asked.told(), ASKED.length));
      assertEquals(near.number(), asked.queuePair());
      return Objects.requireNonNull(asked.id());
    }

    void connect() {
      ConnectionId called = ask();
      far.initialize(called, IBV_ACCESS_REMOTE_WRITE());
      far.readyToReceive(called, 0);
      far.readyToSend(called, PATIENCE);
      called.accept(far, ANSWERED);
      ConnectionEvent answered = await(channel, RDMA_CM_EVENT_CONNECT_RESPONSE());
      assertArrayEquals(ANSWERED, Arrays.copyOf(answered.told(), ANSWERED.length));
      assertEquals(far.number(), answered.queuePair());
      assertTrue(near.readyToReceive(caller, 0) >= IBV_MTU_256());
      near.readyToSend(caller, PATIENCE);
      caller.establish();
      await(channel, RDMA_CM_EVENT_ESTABLISHED());
    }

    @Override
    public void close() {
      channel.close();
      device.close();
      assertEquals(0, VerbsObject.live());
    }
  }

  private static ConnectionEvent await(ConnectionChannel channel, int type) {
    while (true) {
      ConnectionEvent event = channel.next();
      if (event == null) {
        assertTrue(Poll.once(channel.fd(), linux_h.POLLIN(), MILLIS) > 0, "no event of type " + type);
      } else if (event.type() == type) {
        return event;
      } else {
        assertFalse(event.isFailure(), event::toString);
      }
    }
  }

  @Test
  void shouldConnectAndCarryAWrite() {
    try (Call call = new Call(0); Mapping memory = Mapping.anonymous(8192)) {
      call.connect();
      MemoryRegion region = MemoryRegion.register(call.domain, memory.hostVirt(), 8192, IBV_ACCESS_LOCAL_WRITE() | IBV_ACCESS_REMOTE_WRITE());
      ReceiveBatch receives = new ReceiveBatch(call.far, 1);
      receives.add(0, 0, 0, 1);
      assertEquals(0, receives.post());
      Memory.putLong(memory.hostVirt(), 0x1122334455667788L);
      SendBatch sends = new SendBatch(call.near, 1);
      sends.writeWithImmediate(memory.hostVirt(), 8, region.localKey(), memory.hostVirt() + 4096, region.remoteKey(), 1, 2, IBV_SEND_SIGNALED());
      assertEquals(0, sends.post());
      for (int seen = 0; seen < 2; seen += Loopback.await(call.completions)) {}
      assertEquals(0x1122334455667788L, Memory.getLong(memory.hostVirt() + 4096));
    }
  }

  @Test
  void shouldTellTheOtherSideOfADisconnection() {
    try (Call call = new Call(0)) {
      call.connect();
      assertEquals(0, call.caller.disconnect());
      assertNotNull(await(call.channel, RDMA_CM_EVENT_DISCONNECTED()));
    }
  }

  @Test
  void shouldSayThatARequestWasRefused() {
    try (Call call = new Call(0)) {
      call.ask().reject();
      expectFailure(call, RDMA_CM_EVENT_REJECTED());
    }
  }

  @Test
  void shouldSayThatNobodyListens() {
    try (Call call = new Call(9)) {
      call.caller.connect(call.near, ASKED);
      expectFailure(call, RDMA_CM_EVENT_REJECTED());
    }
  }

  private static void expectFailure(Call call, int type) {
    ConnectionEvent event;
    do {
      assertTrue(Poll.once(call.channel.fd(), linux_h.POLLIN(), MILLIS) > 0);
      event = call.channel.next();
    } while (event == null);
    assertEquals(type, event.type(), event::toString);
    assertTrue(event.isFailure());
    assertNull(call.channel.next());
  }

  @Test
  void shouldSetUpALinkOfSeveralQueuePairs() throws Exception {
    var address = RdmaPairs.deviceAddress();
    Assumptions.assumeTrue(address.isPresent(), "no RDMA device with an active port and an IPv4 address here");
    RdmaConfig config = RdmaPairs.calm().withQueuePairs(3, 4096).with(Map.of("setup", "cm"));
    RdmaPairs.Pair pair = RdmaPairs.overDevice(address.orElseThrow(), 1 << 16, config);
    try (var sender = pair.sender(); var receiver = pair.receiver()) {
      for (long at = 0; at < 20_000; at += 8) {
        Memory.putLong(sender.ring().address(at), at);
      }
      sender.publish(20_000);
      long deadline = System.nanoTime() + MILLIS * 1_000_000L;
      while (receiver.received() < 20_000 && System.nanoTime() - deadline < 0) {
        sender.poll();
        receiver.poll();
      }
      assertEquals(20_000, receiver.received(), () -> sender.failure() + "|" + receiver.failure());
      for (long at = 0; at < 20_000; at += 8) {
        assertEquals(at, Memory.getLong(receiver.ring().address(at)));
      }
    }
    assertEquals(0, VerbsObject.live());
  }
}
