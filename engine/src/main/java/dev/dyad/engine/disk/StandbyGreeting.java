package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;

/**
 * What a standby's disk says of itself when it comes: its hello, then the extents that it marked when it was a primary's. Then the primary's
 * answer. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class StandbyGreeting {
  private static final int EXTENTS_MAX = 4096;

  private final DiskMetadata metadata;
  private final BlockMap ownMarks;
  private final long epochBytesMax;
  private boolean helloTold;
  private boolean marksTold;
  private int nextExtent;
  private Generations peerGenerations = Generations.NONE;
  private long peerSetLow;
  private long peerSetHigh;

  /**
   * @param epochBytesMax what this disk takes for one epoch
   */
  StandbyGreeting(DiskMetadata metadata, BlockMap ownMarks, long epochBytesMax) {
    this.metadata = metadata;
    this.ownMarks = ownMarks;
    this.epochBytesMax = epochBytesMax;
  }

  /** Says what there is room for. */
  void tell(DiskChannel channel) {
    helloTold = helloTold || tellHello(channel);
    while (helloTold && !marksTold && tellExtents(channel)) {}
  }

  private boolean tellHello(DiskChannel channel) {
    int length = (int) dyad_disk_hello.sizeof();
    long at = channel.begin(length, 0);
    if (at == 0) {
      return false;
    }
    int flags =
        (metadata.generations().current() == 0 || metadata.has(Superblock.FAILED) ? DYAD_DISK_FRESH() : 0)
            | (metadata.has(Superblock.INCONSISTENT) ? DYAD_DISK_INCONSISTENT() : 0)
            | (metadata.has(Superblock.DISCARD_MINE) ? DYAD_DISK_DISCARD_MINE() : 0);
    DiskHello.write(at, metadata, flags, DYAD_DISK_DECISION_NONE(), epochBytesMax);
    channel.send(FrameType.DISK_HELLO, length, 0);
    return true;
  }

  private boolean tellExtents(DiskChannel channel) {
    int head = (int) dyad_disk_extents.sizeof();
    int max = Math.min(EXTENTS_MAX, (channel.payloadBytesMax() - head) / 4 & ~1);
    long at = channel.begin(head + 4 * max, 0);
    if (at == 0) {
      return false;
    }
    int extents = metadata.geometry().extents();
    int count = 0;
    while (nextExtent < extents && count < max) {
      if (ownMarks.extentCount(nextExtent) > 0) {
        Memory.putInt(at + head + 4L * count++, nextExtent);
      }
      nextExtent++;
    }
    marksTold = nextExtent == extents;
    if ((count & 1) != 0) {
      Memory.putInt(at + head + 4L * count, 0); // padding
    }
    Memory.putInt(at + dyad_disk_extents.count$offset(), count);
    Memory.putInt(at + dyad_disk_extents.flags$offset(), marksTold ? DYAD_DISK_EXTENTS_LAST() : 0);
    channel.send(FrameType.DISK_EXTENTS, head + 4 * count, 0);
    return true;
  }

  /** Takes the primary's answer; false when it does not fit here. */
  boolean answered(long at, int length) {
    if (!marksTold || length != dyad_disk_hello.sizeof()) {
      return false;
    }
    peerGenerations = DiskHello.generations(at);
    peerSetLow = Memory.getLong(at + dyad_disk_hello.set_id$offset());
    peerSetHigh = Memory.getLong(at + dyad_disk_hello.set_id$offset() + 8);
    return true;
  }

  /** This image holds what the primary's does; durable with the result's ticket. */
  long becomeLevel(int set, int unset) {
    metadata.join(peerSetLow, peerSetHigh);
    return metadata.update(peerGenerations.level(), set, unset, metadata.logId());
  }
}
