package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Memory;
import java.util.List;
import java.util.Random;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** A standby's log when its host starts, over disks that lose what was not flushed. */
class LogReplayTest {
  private static final int BLOCK = 512;
  private static final int BLOCKS = 3;
  private static final int WRITES = 4;
  private static final List<Long> AT_EPOCH_2 = List.of(1L, 2L, 2L);
  private static final int TRANSFER = 16 << 10;
  private static final long LOG = 5;

  /**
   * A host whose process dies with epoch 1, which wrote the first two blocks, durable in the log, and epoch 2, which wrote the last two, in the cache
   * of the log's disk.
   */
  private static final class Host implements AutoCloseable {
    final SimDevice image;
    final SimDevice device;

    Host(long seed) {
      Random random = new Random(seed);
      DiskEvents events = new DiskEvents();
      image = new SimDevice((long) BLOCKS * BLOCK, random, events);
      device = new SimDevice(1 << 20, random, events);
      try (WriteLog log = new WriteLog(64 << 10, 64, BLOCK, TRANSFER); LogFile file = new LogFile(device, log, TRANSFER, LOG)) {
        append(log, file, 1);
        file.flush();
        while (file.sealDurable() < 1) {
          file.poll();
        }
        append(log, file, 2);
      }
    }

    private static void append(WriteLog log, LogFile file, long epoch) {
      for (long block = epoch - 1; block <= epoch; block++) {
        long data = log.add(BlockDevice.WRITE, epoch, block * BLOCK, BLOCK, BLOCK);
        Memory.zero(data, BLOCK);
        Memory.putLong(data, epoch);
      }
      assertTrue(file.append(epoch, log.tail(), log.tail(), 0));
      while (file.isBusy()) {
        file.poll();
      }
    }

    int replay() {
      return LogReplay.run(device, image, LOG, TRANSFER);
    }

    void losePower() {
      image.losePower();
      device.losePower();
    }

    /** The epoch that wrote each block of the image. */
    List<Long> epochs() {
      return LongStream.range(0, BLOCKS).mapToObj(block -> image.value(block * BLOCK)).toList();
    }

    @Override
    public void close() {
      image.free();
      device.free();
    }
  }

  @Test
  void shouldMendTheImageToTheLastSealInTheLog() {
    try (Host host = new Host(1)) {
      assertEquals(WRITES, host.replay());
      assertEquals(AT_EPOCH_2, host.epochs());
    }
  }

  @Test
  void shouldMakeTheLogDurableBeforeTheImageGetsAnyOfIt() {
    for (long seed = 0; seed < 100; seed++) {
      for (int writes = 0; writes < WRITES; writes++) {
        try (Host host = new Host(seed)) {
          host.image.writesUntilPowerLoss = writes;
          assertThrows(SimDevice.PowerLostException.class, host::replay);
          host.losePower();
          host.replay();
          assertEquals(AT_EPOCH_2, host.epochs());
        }
      }
    }
  }

  @Test
  void shouldNotFallBackToAnOlderEpochWhenThePowerIsLostAfterwards() {
    for (long seed = 0; seed < 100; seed++) {
      try (Host host = new Host(seed)) {
        host.replay();
        host.losePower();
        host.replay();
        assertEquals(AT_EPOCH_2, host.epochs());
      }
    }
  }
}
