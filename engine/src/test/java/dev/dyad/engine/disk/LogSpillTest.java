package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.disk.ReceivedEpochs.Taken;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A standby's log with durability = disk whose file is slower than the primary. */
class LogSpillTest {
  private static final int BLOCK = 512;
  private static final int TRANSFER = 16 << 10;
  private static final int WRITE_BYTES = 8 << 10;
  private static final int WRITES_MAX = 6;
  private static final int WINDOW = 16;
  private static final long LEVEL = 0;
  private static final long FLUSH_TAG = 1;
  private static final DiskGeometry GEOMETRY = new DiskGeometry(1 << 20, BLOCK, 64 * BLOCK, 4);

  private final Random random = new Random(1);
  private final DiskEvents events = new DiskEvents();
  private final MirrorConfig config = new MirrorConfig(16, 8 << 10, Long.MAX_VALUE, 1000, 1000, true, 256 << 10, 1024, 16);
  private final SimDevice image = new SimDevice(GEOMETRY.bytes(), random, events);
  private final SimDevice meta = new SimDevice(GEOMETRY.metadataBytes(), random, events);
  private final SimDevice logDevice = new SimDevice(1 << 20, random, events);
  private final Mapping frame = Mapping.anonymous(TRANSFER + 4096);
  private final WriteLog log = new WriteLog(config.logMemoryBytes(), config.logEntries(), BLOCK, TRANSFER);
  private final LogFile file = new LogFile(logDevice, log, TRANSFER, 1);
  private final ReceivedEpochs received = new ReceivedEpochs(log, image, config.requests());
  private final StandbyReads reads = new StandbyReads(image, log, BLOCK, TRANSFER);
  private final DiskMetadata metadata;
  private final LogSpill spill;
  private int restarts;

  LogSpillTest() {
    DiskMetadata.format(meta, GEOMETRY, 1, 2, Generations.first(9));
    metadata = DiskMetadata.open(meta, GEOMETRY.bytes(), block -> 0, geometry -> new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
    spill = new LogSpill(image, metadata, log, file, received, reads, config);
  }

  @AfterEach
  void close() {
    file.close();
    log.close();
    received.close();
    reads.close();
    metadata.close();
    image.free();
    meta.free();
    logDevice.free();
    frame.close();
  }

  private void write(long epoch, int number) {
    long at = frame.hostVirt();
    Memory.putLong(at + dyad_disk_write.offset$offset(), (long) number * WRITE_BYTES);
    Memory.putInt(at + dyad_disk_write.bytes$offset(), WRITE_BYTES);
    assertEquals(Taken.OK, received.write(at, (int) dyad_disk_write.sizeof() + WRITE_BYTES, epoch, open -> false));
  }

  private void seal(long epoch, long writes) {
    long at = frame.hostVirt();
    Memory.putLong(at + dyad_disk_seal.frames$offset(), writes);
    Memory.putLong(at + dyad_disk_seal.bytes$offset(), writes * WRITE_BYTES);
    Memory.putInt(at + dyad_disk_seal.flags$offset(), DYAD_DISK_SEAL_FLUSHED());
    Memory.putInt(at + dyad_disk_seal.in_flight$offset(), 0);
    assertEquals(Taken.OK, received.seal(at, (int) dyad_disk_seal.sizeof(), epoch));
  }

  private void receive(long epoch) {
    int writes = 1 + random.nextInt(WRITES_MAX);
    for (int i = 0; i < writes; i++) {
      write(epoch, i);
    }
    seal(epoch, writes);
  }

  private void turn() {
    file.poll();
    metadata.poll();
    image.poll((tag, error) -> spill.imageFlushed());
    long before = file.position();
    spill.turn(LEVEL, FLUSH_TAG);
    restarts += file.position() < before ? 1 : 0;
    long entry = log.nextToApply(Math.max(LEVEL, file.sealDurable()));
    if (entry >= 0) {
      log.applying(entry);
      log.applied(entry);
    }
  }

  @Test
  void shouldSealInAFileThatNeverCatchesUp() {
    long last = 1000;
    seal(LEVEL, 0);
    for (long epoch = 1; epoch <= last; ) {
      // The primary is always ahead: as many epochs as its window takes are more than half of the file.
      while (epoch <= last && epoch - file.sealDurable() < WINDOW && log.freeBytes() >= (long) WRITES_MAX * WRITE_BYTES) {
        receive(epoch++);
      }
      turn();
      assertTrue(file.hasRoom(), "the file is full, and nothing in it counts: " + file);
    }
    for (int i = 0; file.sealDurable() < last; i++) {
      turn();
      assertTrue(i < 10_000, "epoch " + last + " does not become durable: " + file);
    }
    assertTrue(restarts > 2, "the file started over " + restarts + " times");
  }
}
