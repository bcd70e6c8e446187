package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import dev.dyad.engine.link.LinkPair;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Reason;
import java.lang.management.ManagementFactory;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The way from the copied pages to the replica and the acknowledgement back makes no object. */
class EpochAllocationTest {
  private static final int EPOCHS = 10_000;

  /** While the JVM still replaces code, a frame that goes back to the interpreter gets its objects back, some 100 bytes each time. */
  private static final int EPOCHS_MAX = 6 * EPOCHS;

  private static final long RING_BYTES = 1 << 20;

  /** Counts, and acknowledges each whole epoch. */
  private static final class Counting implements EpochReader.Listener, EpochWriter.Listener {
    long acknowledged;
    long refusals;
    @Nullable EpochReader reader;

    @Override
    public void whole(long epoch, boolean baseline, long sentNanos, int stateBytes) {
      EpochReader present = reader;
      if (present != null) {
        present.acknowledge(epoch, sentNanos);
      }
    }

    @Override
    public void acknowledged(long epoch, long sentNanos) {
      acknowledged = epoch;
    }

    @Override
    public void refused(Reason reason, long found, long needed) {
      refusals++;
    }

    @Override
    public void machine(int kind, byte[] description) {}

    @Override
    public void memory(GuestMemory memory, long epoch) {}

    @Override
    public void heartbeat(long sentNanos) {}

    @Override
    public void bye(int reasonCode, long found, long needed) {}

    @Override
    public void ready() {}

    @Override
    public void echoed(long sentNanos) {}

    @Override
    public void bye(int reasonCode) {}

    @Override
    public void refused(int reasonCode, long found, long needed) {}

    @Override
    public void malformed(Reason reason) {}
  }

  @ParameterizedTest
  @EnumSource(value = LinkPair.Kind.class, mode = EnumSource.Mode.MATCH_NONE, names = "RDMA_SIMULATED.*") // that NIC is the test's own, and allocates
  @Timeout(120)
  void shouldAllocateNothingOverTenThousandEpochs(LinkPair.Kind kind) {
    Counting events = new Counting();
    try (TestMemory memory = new TestMemory();
        LastSent lastSent = new LastSent(32 * TestMemory.PAGE);
        LinkPair link = LinkPair.open(kind, RING_BYTES);
        EpochWriter writer = new EpochWriter(link.sender(), lastSent, 1, 65_536, events);
        EpochReader reader = new EpochReader(link.receiver(), 1, 1 << 20, 1 << 20, events)) {
      events.reader = reader;
      writer.sendMemory(memory.layout);
      while (reader.poll() == 0) {
        writer.poll();
      }
      reader.attach(memory.replica());
      memory.all();
      ship(1, memory, writer, reader, events);
      SplittableRandom random = new SplittableRandom(5);
      ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
      int epoch = 1;
      int withoutAllocation = 0;
      while (withoutAllocation < EPOCHS) {
        epoch++;
        memory.run(random); // the test's own part may allocate
        long before = threads.getCurrentThreadAllocatedBytes();
        ship(epoch, memory, writer, reader, events);
        long bytes = threads.getCurrentThreadAllocatedBytes() - before;
        withoutAllocation = bytes == 0 ? withoutAllocation + 1 : 0;
        assertTrue(epoch < EPOCHS_MAX, "no " + EPOCHS + " epochs in a row without allocation; the last one allocated " + bytes + " bytes");
      }
      assertEquals(-1, memory.difference());
      assertEquals(0, events.refusals);
    }
  }

  private static void ship(long epoch, TestMemory memory, EpochWriter writer, EpochReader reader, Counting events) {
    writer.begin(epoch, epoch == 1);
    writer.startPages(memory.dirty, memory.copies.hostVirt());
    while (!writer.shipPages()) {
      reader.poll();
    }
    while (!writer.heartbeat(epoch) || !writer.seal(100, epoch)) {
      reader.poll();
    }
    while (events.acknowledged < epoch) {
      reader.poll();
      writer.poll();
    }
    while (!reader.apply(epoch, 1 << 16)) {
      reader.poll();
    }
  }
}
