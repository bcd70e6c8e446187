package dev.dyad.engine.disk;

import java.util.Random;
import java.util.function.ToIntFunction;

/** A host of the simulation: its devices, their common fate, and what a person or a start of the host does with them. */
final class SimHost {
  final SimDevice image;
  final SimDevice meta;
  final SimDevice log;
  boolean formatted;

  SimHost(DiskGeometry geometry, Random random, DiskEvents events) {
    image = new SimDevice(geometry.bytes(), random, events);
    meta = new SimDevice(geometry.metadataBytes(), random, events);
    log = new SimDevice(1 << 20, random, events);
  }

  void losePower() {
    image.losePower();
    meta.losePower();
    log.losePower();
  }

  void stop() {
    image.stop();
    meta.stop();
    log.stop();
  }

  /** Other disks, empty. */
  void replace() {
    image.replace();
    meta.replace();
    log.replace();
    formatted = false;
  }

  void free() {
    image.free();
    meta.free();
    log.free();
  }

  private <T> T metadata(java.util.function.Function<DiskMetadata, T> what) {
    BlockMap[] marks = new BlockMap[1];
    DiskMetadata metadata =
        DiskMetadata.open(
            meta, image.bytes(), block -> 0, geometry -> marks[0] = new BlockMap(geometry.blocks(), geometry.blocksPerExtent()));
    metadata.marks(marks[0]::word);
    try {
      return what.apply(metadata);
    } finally {
      metadata.close();
    }
  }

  private void change(int set, int unset) {
    metadata(
        metadata -> {
          long ticket = metadata.update(metadata.generations(), set, unset, metadata.logId());
          while (!metadata.isDurable(ticket)) {
            metadata.poll();
          }
          return ticket;
        });
  }

  /** Whether the image is that of a standby which was level, durably. */
  boolean wasLevel() {
    return metadata(metadata -> metadata.has(Superblock.RECEIVING) && !metadata.has(Superblock.INCONSISTENT | Superblock.FAILED));
  }

  /** As a start of the host does; the number of writes. */
  int replay() {
    ToIntFunction<DiskMetadata> replay =
        metadata -> metadata.has(Superblock.LOGGED) ? LogReplay.run(log, image, metadata.logId(), image.transferBytesMax()) : 0;
    return metadata(replay::applyAsInt);
  }

  /** A person says: this image is good. See {@link Declarations#force}. */
  void force() {
    change(0, Superblock.INCONSISTENT | Superblock.RECEIVING | Superblock.FAILED | Superblock.LOGGED | Superblock.DISCARD_MINE);
  }

  /** A person says: what this image has of its own is void. */
  void discard() {
    change(Superblock.DISCARD_MINE, 0);
  }
}
