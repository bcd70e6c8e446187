package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.dyad_disk_hello;
import dev.dyad.bindings.linux.Memory;

/** The frame by which two disks say what they are; one side's and the answer to it have the same shape. */
final class DiskHello {
  static final String BEHIND =
      "the standby's disk went on after this one: start the machine on that host, or declare its history void there (dyad disk discard)";
  static final String DIVERGED =
      "both disks went on alone from the same point: decide which history is void and declare it on that host (dyad disk discard)";
  static final String FOREIGN =
      "the standby's disk has no history in common with this one: name the right image, or declare its content void (dyad disk discard)";

  private DiskHello() {}

  static void write(long at, DiskMetadata metadata, int flags, int decision, long epochBytesMax) {
    DiskGeometry geometry = metadata.geometry();
    Memory.putLong(at + dyad_disk_hello.set_id$offset(), metadata.setIdLow());
    Memory.putLong(at + dyad_disk_hello.set_id$offset() + 8, metadata.setIdHigh());
    Memory.putLong(at + dyad_disk_hello.bytes$offset(), geometry.bytes());
    Memory.putInt(at + dyad_disk_hello.block_bytes$offset(), geometry.blockBytes());
    Memory.putInt(at + dyad_disk_hello.extent_bytes$offset(), geometry.extentBytes());
    Generations generations = metadata.generations();
    Memory.putLong(at + dyad_disk_hello.current$offset(), generations.current());
    Memory.putLong(at + dyad_disk_hello.base$offset(), generations.base());
    for (int i = 0; i < Generations.HISTORY; i++) {
      Memory.putLong(at + dyad_disk_hello.history$offset() + 8L * i, generations.history()[i]);
    }
    Memory.putInt(at + dyad_disk_hello.flags$offset(), flags);
    Memory.putInt(at + dyad_disk_hello.decision$offset(), decision);
    Memory.putLong(at + dyad_disk_hello.epoch_bytes_max$offset(), epochBytesMax);
  }

  static Generations generations(long at) {
    long[] history = new long[Generations.HISTORY];
    for (int i = 0; i < history.length; i++) {
      history[i] = Memory.getLong(at + dyad_disk_hello.history$offset() + 8L * i);
    }
    return new Generations(
        Memory.getLong(at + dyad_disk_hello.current$offset()), Memory.getLong(at + dyad_disk_hello.base$offset()), history);
  }

  /** Why that disk cannot be the other half of ours whatever its history, as a decision; NONE when it can. */
  static int refusal(long at, DiskMetadata metadata, int flags) {
    DiskGeometry geometry = metadata.geometry();
    if (Memory.getLong(at + dyad_disk_hello.bytes$offset()) != geometry.bytes()) {
      return DYAD_DISK_REFUSED_SIZE();
    }
    if (Memory.getInt(at + dyad_disk_hello.block_bytes$offset()) != geometry.blockBytes()
        || Memory.getInt(at + dyad_disk_hello.extent_bytes$offset()) != geometry.extentBytes()) {
      return DYAD_DISK_REFUSED_GEOMETRY();
    }
    boolean sameSet =
        Memory.getLong(at + dyad_disk_hello.set_id$offset()) == metadata.setIdLow()
            && Memory.getLong(at + dyad_disk_hello.set_id$offset() + 8) == metadata.setIdHigh();
    boolean joins = (flags & (DYAD_DISK_FRESH() | DYAD_DISK_DISCARD_MINE())) != 0;
    return sameSet || joins ? DYAD_DISK_DECISION_NONE() : DYAD_DISK_REFUSED_FOREIGN();
  }

  static String explain(int decision, long at, DiskGeometry geometry) {
    if (decision == DYAD_DISK_REFUSED_SIZE()) {
      return "the standby's disk has " + Memory.getLong(at + dyad_disk_hello.bytes$offset()) + " bytes, needed are " + geometry.bytes();
    }
    if (decision == DYAD_DISK_REFUSED_GEOMETRY()) {
      return "the standby's disk is divided into blocks of "
          + Memory.getInt(at + dyad_disk_hello.block_bytes$offset())
          + " bytes, needed are "
          + geometry.blockBytes()
          + ": format its metadata again";
    }
    return explain(decision);
  }

  static String explain(int decision) {
    if (decision == DYAD_DISK_REFUSED_BEHIND()) {
      return BEHIND;
    }
    if (decision == DYAD_DISK_REFUSED_DIVERGED()) {
      return DIVERGED;
    }
    if (decision == DYAD_DISK_REFUSED_FOREIGN()) {
      return FOREIGN;
    }
    if (decision == DYAD_DISK_REFUSED_SIZE()) {
      return "this disk is not as large as the primary's: give it an image of the same size";
    }
    return "this disk is divided differently from the primary's: format its metadata again";
  }
}
