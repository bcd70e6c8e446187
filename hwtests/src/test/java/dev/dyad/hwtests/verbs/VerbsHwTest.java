package dev.dyad.hwtests.verbs;

import static dev.dyad.bindings.abi.verbs.verbs_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.verbs.CompletionQueue;
import dev.dyad.bindings.verbs.MemoryRegion;
import dev.dyad.bindings.verbs.PathSettings;
import dev.dyad.bindings.verbs.QueuePair;
import dev.dyad.bindings.verbs.RdmaContext;
import dev.dyad.bindings.verbs.VerbsObject;
import dev.dyad.engine.SteadyAllocation;
import java.net.InetAddress;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Verbs on whatever device this host has: two queue pairs of it, connected to each other. */
final class VerbsHwTest {
  private static final int SIGNALED = IBV_SEND_SIGNALED();

  @Test
  void shouldFindTheEntryOfAnAddress() throws Exception {
    try (var device = Loopback.openAny()) {
      var mapped = device.gids().stream().filter(g -> g.isRoceV2() && g.low() >>> 32 == 0xffff).findFirst().orElseThrow();
      byte[] four = InetAddress.getByName(mapped.address()).getAddress();
      assertEquals(mapped, device.gidOf(InetAddress.getByAddress(four)).orElseThrow());
      assertTrue(device.gidOf(InetAddress.getByName("203.0.113.77")).isEmpty());
      assertTrue(device.port(mapped.port()).isActive());
      assertTrue(device.limits().queuePairWork() >= 128);
    }
    assertEquals(0, VerbsObject.live());
  }

  @Test
  void shouldWriteIntoThePeersMemoryAndReportTheImmediateLast() {
    try (var pair = new Loopback()) {
      Memory.putLong(pair.near.hostVirt(), 0x1122334455667788L);
      pair.receives.add(0, 0, 0, 77);
      assertEquals(0, pair.receives.post());
      pair.sends.write(pair.near.hostVirt(), 8192, pair.near.localKey(), pair.far.hostVirt() + 4096, pair.far.remoteKey(), 1, 0);
      pair.sends.writeWithImmediate(pair.near.hostVirt(), 8, pair.near.localKey(), pair.far.hostVirt(), pair.far.remoteKey(), 0xcafe, 2, SIGNALED);
      assertEquals(0, pair.sends.post());
      assertEquals(1, Loopback.await(pair.farQueue));
      assertEquals(IBV_WC_SUCCESS(), pair.farQueue.status(0), () -> pair.farQueue.describe(0));
      assertEquals(IBV_WC_RECV_RDMA_WITH_IMM(), pair.farQueue.opcode(0));
      assertEquals(77, pair.farQueue.workId(0));
      assertEquals(0xcafe, pair.farQueue.immediate(0));
      assertEquals(pair.farPair.number(), pair.farQueue.queuePair(0));
      assertEquals(0x1122334455667788L, Memory.getLong(pair.far.hostVirt()));
      assertTrue(Memory.equal(pair.near.hostVirt(), pair.far.hostVirt() + 4096, 8192));
      // The first write was not signalled: only the second is reported.
      assertEquals(1, Loopback.await(pair.nearQueue));
      assertEquals(2, pair.nearQueue.workId(0));
      assertEquals(0, pair.nearQueue.poll());
    }
  }

  @Test
  void shouldCarryInlineDataAsItWasWhenPosted() {
    try (var pair = new Loopback()) {
      pair.receives.add(pair.far.hostVirt(), 64, pair.far.localKey(), 5);
      assertEquals(0, pair.receives.post());
      Memory.putLong(pair.near.hostVirt(), 42);
      pair.sends.send(pair.near.hostVirt(), 64, 0, 1, SIGNALED | IBV_SEND_INLINE());
      assertEquals(0, pair.sends.post());
      Memory.putLong(pair.near.hostVirt(), -1);
      assertEquals(1, Loopback.await(pair.farQueue));
      assertEquals(64, pair.farQueue.length(0));
      assertEquals(42, Memory.getLong(pair.far.hostVirt()));
    }
  }

  @Test
  void shouldRefuseALateWriteOnceTheRegionIsGone() {
    try (var pair = new Loopback()) {
      int key = pair.far.remoteKey();
      Memory.putLong(pair.farMemory.hostVirt(), 7);
      pair.far.close();
      Memory.putLong(pair.near.hostVirt(), 666);
      pair.sends.write(pair.near.hostVirt(), 8, pair.near.localKey(), pair.farMemory.hostVirt(), key, 1, SIGNALED);
      assertEquals(0, pair.sends.post());
      assertEquals(1, Loopback.await(pair.nearQueue));
      assertEquals(IBV_WC_REM_ACCESS_ERR(), pair.nearQueue.status(0), () -> pair.nearQueue.describe(0));
      assertTrue(pair.nearQueue.describe(0).startsWith(CompletionQueue.statusName(IBV_WC_REM_ACCESS_ERR())));
      assertEquals(7, Memory.getLong(pair.farMemory.hostVirt()));
      assertEquals(IBV_QPS_ERR(), pair.nearPair.state());
    }
  }

  @Test
  void shouldReportWithinABoundWhenThePeerIsGone() {
    try (var pair = new Loopback()) {
      pair.farPair.close();
      pair.sends.write(pair.near.hostVirt(), 8, pair.near.localKey(), pair.far.hostVirt(), pair.far.remoteKey(), 1, SIGNALED);
      assertEquals(0, pair.sends.post());
      assertEquals(1, Loopback.await(pair.nearQueue));
      assertEquals(IBV_WC_RETRY_EXC_ERR(), pair.nearQueue.status(0), () -> pair.nearQueue.describe(0));
    }
  }

  @Test
  void shouldSayWhichRequestsDidNotFit() {
    try (var pair = new Loopback()) {
      // No receive is posted, so nothing that wants one completes and the queue fills up.
      int posted = 0;
      int errno;
      do {
        pair.sends.send(pair.near.hostVirt(), 8, pair.near.localKey(), posted, SIGNALED);
        errno = pair.sends.post();
        posted += pair.sends.accepted();
      } while (errno == 0 && posted < 1000);
      assertEquals(linux_h.ENOMEM(), errno);
      assertEquals(0, pair.sends.accepted());
      assertTrue(posted >= Loopback.DEPTH, "posted " + posted);
    }
  }

  @Test
  void shouldWakeASleeperThroughTheChannel() {
    try (var pair = new Loopback(); var poll = new Poll(1)) {
      poll.set(0, pair.channel.fd(), linux_h.POLLIN());
      assertEquals(0, pair.farQueue.arm(false));
      assertEquals(0, poll.await(0));
      pair.receives.add(0, 0, 0, 1);
      pair.receives.post();
      pair.sends.writeWithImmediate(0, 0, 0, pair.far.hostVirt(), pair.far.remoteKey(), 1, 1, SIGNALED);
      pair.sends.post();
      assertEquals(1, poll.await(120_000));
      assertEquals(1, pair.channel.drain());
      assertEquals(0, pair.channel.drain());
      assertEquals(1, pair.farQueue.poll());
    }
  }

  @Test
  void shouldCloseInAnyOrderFromAnyState() {
    var random = new Random(6);
    for (int round = 0; round < 20; round++) {
      try (var pair = new Loopback()) {
        if (round % 3 == 0) {
          pair.sends.write(pair.near.hostVirt(), 8192, pair.near.localKey(), pair.far.hostVirt(), pair.far.remoteKey(), 1, SIGNALED);
          pair.sends.post();
        } else if (round % 3 == 1) {
          assertEquals(0, pair.nearPair.fail());
        }
        List<VerbsObject> objects = new ArrayList<>(List.of(pair.device, pair.domain, pair.channel, pair.nearQueue, pair.farQueue, pair.near, pair.far,
            pair.nearPair, pair.farPair, pair.sends, pair.receives));
        Collections.shuffle(objects, random);
        objects.forEach(VerbsObject::close);
      }
      assertEquals(0, VerbsObject.live());
    }
  }

  @Test
  void shouldNameCallAndReasonWhenTheDeviceRefuses() {
    assertEquals(linux_h.ENODEV(), assertThrows(NativeException.class, () -> RdmaContext.open("nothing0")).errno());
    try (var pair = new Loopback()) {
      var failure = assertThrows(NativeException.class, () -> MemoryRegion.register(pair.domain, 4096, 1 << 20, 0));
      assertEquals("ibv_reg_mr", failure.call());
      assertEquals(linux_h.EFAULT(), failure.errno());
      assertThrows(NativeException.class, () -> QueuePair.create(pair.domain, pair.nearQueue, pair.nearQueue, 1 << 28, 1, 0));
      pair.nearPair.close();
      assertThrows(IllegalStateException.class, pair.nearPair::state);
      assertTrue(pair.sends.isClosed());
      assertFalse(pair.near.isClosed());
    }
  }

  @Test
  void shouldRefuseRetriesWithoutABound() {
    assertThrows(IllegalArgumentException.class, () -> new PathSettings(1, 1, IBV_MTU_1024(), 14, 7, 6, 0, 0));
    assertThrows(IllegalArgumentException.class, () -> new PathSettings(1, 1, IBV_MTU_1024(), 14, 6, 7, 0, 0));
    assertThrows(IllegalArgumentException.class, () -> new PathSettings(1, 1, IBV_MTU_1024(), 0, 6, 6, 0, 0));
  }

  @Test
  void shouldAllocateNothingWhilePostingAndPolling() {
    try (var pair = new Loopback()) {
      exchange(pair, 3000);
      assertEquals(0, SteadyAllocation.bytes(() -> exchange(pair, 500)));
    }
  }

  private static void exchange(Loopback pair, int rounds) {
    for (int i = 0; i < rounds; i++) {
      pair.receives.add(0, 0, 0, i);
      pair.receives.post();
      pair.sends.write(pair.near.hostVirt(), 64, pair.near.localKey(), pair.far.hostVirt() + 4096, pair.far.remoteKey(), i, 0);
      pair.sends.writeWithImmediate(pair.near.hostVirt(), 8, pair.near.localKey(), pair.far.hostVirt(), pair.far.remoteKey(), i, i, SIGNALED);
      pair.sends.post();
      Loopback.await(pair.farQueue);
      Loopback.await(pair.nearQueue);
    }
  }
}
