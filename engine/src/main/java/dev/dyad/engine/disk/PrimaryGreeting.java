package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Memory;
import java.util.BitSet;

/**
 * What a standby's disk says of itself when it comes, and what a primary makes of it: a refusal with its reason, or what must be compared.
 * Owned by a {@link MirroredDisk}. Thread: disk.
 */
final class PrimaryGreeting {
  private final DiskMetadata metadata;
  private final DiskGeometry geometry;
  private final BitSet extents = new BitSet();
  private Generations generations = Generations.NONE;
  private int flags;
  private long epochBytesMax;
  private int decision;
  private String refusal = "";

  PrimaryGreeting(DiskMetadata metadata) {
    this.metadata = metadata;
    geometry = metadata.geometry();
  }

  /** Another standby comes. */
  void begin() {
    extents.clear();
    generations = Generations.NONE;
    flags = 0;
    decision = DYAD_DISK_DECISION_NONE();
    refusal = "";
  }

  /** Takes its first frame; false when that does not parse. */
  boolean hello(long at, int length) {
    if (length != dyad_disk_hello.sizeof()) {
      return false;
    }
    flags = Memory.getInt(at + dyad_disk_hello.flags$offset());
    generations = DiskHello.generations(at);
    epochBytesMax = Memory.getLong(at + dyad_disk_hello.epoch_bytes_max$offset());
    int misfit = DiskHello.refusal(at, metadata, flags);
    if (misfit != DYAD_DISK_DECISION_NONE()) {
      decision = misfit;
      refusal = DiskHello.explain(misfit, at, geometry);
    }
    return true;
  }

  /** Takes a part of its marks; with the last one comes the decision. False when it does not parse. */
  boolean extents(long at, int length) {
    int count = Memory.getInt(at + dyad_disk_extents.count$offset());
    int head = (int) dyad_disk_extents.sizeof();
    if (count < 0 || count > (length - head) / 4) {
      return false;
    }
    for (int i = 0; i < count; i++) {
      int extent = Memory.getInt(at + head + 4L * i);
      if (extent < 0 || extent >= geometry.extents()) {
        return false;
      }
      extents.set(extent);
    }
    if ((Memory.getInt(at + dyad_disk_extents.flags$offset()) & DYAD_DISK_EXTENTS_LAST()) != 0) {
      decide();
    }
    return true;
  }

  private void decide() {
    switch (relation()) {
      case FRESH, OLDER -> decision = DYAD_DISK_SYNC_ALL();
      case DIFFERENCES -> decision = DYAD_DISK_SYNC_DIFFERENCES();
      case AHEAD -> refuse(DYAD_DISK_REFUSED_BEHIND());
      case DIVERGED -> refuse(DYAD_DISK_REFUSED_DIVERGED());
      case FOREIGN -> refuse(DYAD_DISK_REFUSED_FOREIGN());
    }
  }

  private Generations.Relation relation() {
    Generations.Relation relation = metadata.generations().relationTo(generations);
    if ((flags & DYAD_DISK_FRESH()) != 0) {
      return Generations.Relation.FRESH;
    }
    // What a person declared void is compared as a whole, also where the marks alone would do.
    boolean voided = (flags & DYAD_DISK_DISCARD_MINE()) != 0 || (relation == Generations.Relation.DIFFERENCES && metadata.has(Superblock.PEER_VOID));
    return voided ? Generations.Relation.OLDER : relation;
  }

  private void refuse(int how) {
    decision = how;
    refusal = DiskHello.explain(how);
  }

  /** DYAD_DISK_DECISION_NONE until it has said all. */
  int decision() {
    return decision;
  }

  /** Why it is refused, in one line; empty otherwise. */
  String refusal() {
    return refusal;
  }

  /** What it takes for one epoch. */
  long epochBytesMax() {
    return epochBytesMax;
  }

  /** Adds what must be compared, besides what is marked here. */
  void mark(BlockMap compare) {
    if (decision == DYAD_DISK_SYNC_ALL()) {
      compare.set(0, geometry.blocks());
      return;
    }
    for (int extent = extents.nextSetBit(0); extent >= 0; extent = extents.nextSetBit(extent + 1)) {
      compare.set((long) extent * geometry.blocksPerExtent(), geometry.blocksPerExtent());
    }
  }
}
