package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;

/**
 * What a standby's disk has received: the writes of the open epoch go into the write log as they come, a seal says whether they are all
 * there, and which requests the guest had no answer to. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class ReceivedEpochs implements AutoCloseable {
  static final long NONE = -1;

  /** Seals whose requests are remembered: more than the protocol's window of epochs. */
  private static final int WINDOW = 64;

  /** What became of a frame. */
  enum Taken {
    OK,
    /** There is no room now. */
    LATER,
    /** There never will be. */
    TOO_LARGE,
    /** It does not parse, or does not belong here. */
    BAD,
    /** The seal says another number of writes than came. */
    INCOMPLETE
  }

  private final WriteLog log;
  private final long diskBytes;
  private final int alignBytes;
  private final int transferBytesMax;
  private final Mapping records;
  private final int recordsBytes;
  private final long[] recordsEpoch = new long[WINDOW];
  private final int[] recordsCount = new int[WINDOW];
  private final long[] tails = new long[WINDOW];
  private long frames;
  private long frameBytes;
  private long sealed = NONE;
  private long sealedTail;
  private long flushed = NONE;
  private int sealFlags;

  ReceivedEpochs(WriteLog log, BlockDevice image, int requests) {
    this.log = log;
    diskBytes = image.bytes();
    alignBytes = image.blockBytes();
    transferBytesMax = image.transferBytesMax();
    recordsBytes = requests * (int) dyad_disk_request.sizeof();
    records = Mapping.anonymous((long) WINDOW * recordsBytes);
    java.util.Arrays.fill(recordsEpoch, NONE);
  }

  /** The newest epoch that was sealed; NONE before. */
  long sealed() {
    return sealed;
  }

  /** Entries of the log before this one are of sealed epochs. */
  long sealedTail() {
    return sealedTail;
  }

  /** Entries of the log before this one are of sealed epochs up to that one, which is remembered. */
  long tailOf(long epoch) {
    return tails[(int) (epoch % WINDOW)];
  }

  /** The newest epoch from {@code from} on of which no entry is {@code covered} or later; NONE for none that is remembered. */
  long sealedWithin(long covered, long from) {
    for (long epoch = sealed; isRemembered(epoch, from); epoch--) {
      if (tailOf(epoch) <= covered) {
        return epoch;
      }
    }
    return NONE;
  }

  /** Where the sealed epoch ends that has the entry before {@code begun}, of those from {@code from} on; if it is of the open one, where that begins. */
  long endOf(long begun, long from) {
    long end = sealedTail;
    for (long epoch = sealed; isRemembered(epoch, from) && tailOf(epoch) >= begun; epoch--) {
      end = tailOf(epoch);
    }
    return end;
  }

  private boolean isRemembered(long epoch, long from) {
    return epoch >= from && recordsEpoch[(int) (epoch % WINDOW)] == epoch;
  }

  /** The newest epoch in which the guest flushed; NONE before. */
  long flushed() {
    return flushed;
  }

  /** Flags of the newest seal. */
  int sealFlags() {
    return sealFlags;
  }

  boolean isInside(long offset, long bytes) {
    return offset >= 0 && bytes > 0 && offset <= diskBytes - bytes && offset % alignBytes == 0 && bytes % alignBytes == 0;
  }

  /** The epoch that frames may belong to: the one after the last seal, or any when there was none. */
  private boolean isOpen(long epoch) {
    return sealed == NONE ? epoch >= 0 : epoch == sealed + 1;
  }

  /**
   * @param mayDrain whether room will be made by what is applied or goes to the log file
   */
  Taken write(long at, int length, long epoch, java.util.function.LongPredicate mayDrain) {
    long offset = Memory.getLong(at + dyad_disk_write.offset$offset());
    int bytes = Memory.getInt(at + dyad_disk_write.bytes$offset());
    int head = (int) dyad_disk_write.sizeof();
    if (!isInside(offset, bytes) || bytes > transferBytesMax || length != head + bytes || !isOpen(epoch)) {
      return Taken.BAD;
    }
    long data = log.add(BlockDevice.WRITE, epoch, offset, bytes, bytes);
    if (data == 0) {
      return mayDrain.test(epoch) ? Taken.LATER : Taken.TOO_LARGE;
    }
    Memory.copy(at + head, data, bytes);
    frames++;
    frameBytes += bytes;
    return Taken.OK;
  }

  /** As {@link #write}. */
  Taken clear(long at, int length, long epoch, java.util.function.LongPredicate mayDrain) {
    long offset = Memory.getLong(at + dyad_disk_clear.offset$offset());
    long bytes = Memory.getLong(at + dyad_disk_clear.bytes$offset());
    int flags = Memory.getInt(at + dyad_disk_clear.flags$offset());
    if (!isInside(offset, bytes) || length != dyad_disk_clear.sizeof() || !isOpen(epoch)) {
      return Taken.BAD;
    }
    int op = (flags & DYAD_DISK_CLEAR_KEEP()) != 0 ? BlockDevice.ZEROES : BlockDevice.DISCARD;
    if (log.add(op, epoch, offset, bytes, 0) == 0) {
      return mayDrain.test(epoch) ? Taken.LATER : Taken.TOO_LARGE;
    }
    frames++;
    return Taken.OK;
  }

  Taken seal(long at, int length, long epoch) {
    int head = (int) dyad_disk_seal.sizeof();
    int inFlight = Memory.getInt(at + dyad_disk_seal.in_flight$offset());
    long records = inFlight * dyad_disk_request.sizeof();
    if (!isOpen(epoch) || inFlight < 0 || records > recordsBytes || length != head + records) {
      return Taken.BAD;
    }
    if (Memory.getLong(at + dyad_disk_seal.frames$offset()) != frames || Memory.getLong(at + dyad_disk_seal.bytes$offset()) != frameBytes) {
      return Taken.INCOMPLETE;
    }
    frames = 0;
    frameBytes = 0;
    int window = (int) (epoch % WINDOW);
    recordsEpoch[window] = epoch;
    recordsCount[window] = inFlight;
    Memory.copy(at + head, recordsAt(window), records);
    sealed = epoch;
    sealedTail = log.tail();
    tails[window] = sealedTail;
    sealFlags = Memory.getInt(at + dyad_disk_seal.flags$offset());
    if ((sealFlags & DYAD_DISK_SEAL_FLUSHED()) != 0) {
      flushed = epoch;
    }
    return Taken.OK;
  }

  /** Writes of the open epoch so far. */
  long frames() {
    return frames;
  }

  private long recordsAt(int window) {
    return records.hostVirt() + (long) window * recordsBytes;
  }

  /** What came after {@code epoch} never was. */
  void dropAfter(long epoch) {
    log.dropAfter(epoch);
    sealedTail = Math.min(sealedTail, log.tail());
    sealed = epoch;
  }

  /** Hears of each request without an answer at the seal of {@code epoch}. */
  void inFlight(long epoch, StandbyEpochs.InFlight listener) {
    int window = (int) (epoch % WINDOW);
    if (recordsEpoch[window] != epoch) {
      return;
    }
    long record = recordsAt(window);
    for (int i = 0; i < recordsCount[window]; i++) {
      listener.request(
          Memory.getLong(record + dyad_disk_request.tag$offset()),
          Memory.getInt(record + dyad_disk_request.op$offset()),
          Memory.getInt(record + dyad_disk_request.flags$offset()),
          Memory.getLong(record + dyad_disk_request.offset$offset()),
          Memory.getLong(record + dyad_disk_request.bytes$offset()));
      record += dyad_disk_request.sizeof();
    }
  }

  @Override
  public void close() {
    records.close();
  }
}
