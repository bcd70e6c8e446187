package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.wire.wire_h.*;

import dev.dyad.bindings.abi.wire.*;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.FrameType;

/**
 * What the primary asks a standby's disk to read: blocks to compare with checksums, or data in its own disk's place. What is read is the
 * image with the write log over it, as the primary sees it. A bounded number is under way. Owned by a {@link StandbyDisk}. Thread: disk.
 */
final class StandbyReads implements AutoCloseable {
  private static final int PLACES = 8;
  private static final int SUM_BYTES_MAX = 1 << 16;

  private enum Stage {
    FREE,
    WAITING,
    READING,
    READ
  }

  private final BlockDevice image;
  private final WriteLog log;
  private final int blockBytes;
  private final int bytesMax;
  private final Mapping data;
  private final Mapping sums = Mapping.anonymous((long) PLACES * SUM_BYTES_MAX);
  private final Stage[] stage = new Stage[PLACES];
  private final boolean[] compares = new boolean[PLACES];
  private final long[] offset = new long[PLACES];
  private final int[] length = new int[PLACES];
  private final long[] tag = new long[PLACES];
  private final int[] error = new int[PLACES];

  StandbyReads(BlockDevice image, WriteLog log, int blockBytes, int bytesMax) {
    this.image = image;
    this.log = log;
    this.blockBytes = blockBytes;
    this.bytesMax = bytesMax;
    data = Mapping.anonymous((long) PLACES * bytesMax);
    java.util.Arrays.fill(stage, Stage.FREE);
  }

  /** Whether that many blocks can be compared at once. */
  boolean fits(int blocks) {
    return blocks > 0 && (long) blocks * blockBytes <= bytesMax && (blocks + 1L) * BlockSum.BYTES <= SUM_BYTES_MAX;
  }

  /**
   * Takes blocks to compare.
   *
   * @param sumsAt address of the primary's checksums
   * @return false when as many are under way as may be
   */
  boolean compare(long from, int blocks, int flags, long sumsAt) {
    int place = take(true, from, blocks * blockBytes, flags);
    if (place < 0) {
      return false;
    }
    Memory.copy(sumsAt, sums(place), (long) blocks * BlockSum.BYTES);
    return true;
  }

  /** Takes a read in the primary's disk's place; false when as many are under way as may be. */
  boolean read(long from, int bytes, long primaryTag) {
    return take(false, from, bytes, primaryTag) >= 0;
  }

  private int take(boolean comparing, long from, int bytes, long itsTag) {
    for (int i = 0; i < PLACES; i++) {
      if (stage[i] == Stage.FREE) {
        stage[i] = Stage.WAITING;
        compares[i] = comparing;
        offset[i] = from;
        length[i] = bytes;
        tag[i] = itsTag;
        return i;
      }
    }
    return -1;
  }

  private long data(int place) {
    return data.hostVirt() + (long) place * bytesMax;
  }

  private long sums(int place) {
    return sums.hostVirt() + (long) place * SUM_BYTES_MAX;
  }

  /** Whether the image is being read there: nothing may be applied to it meanwhile. */
  boolean isReading(long from, long bytes) {
    for (int i = 0; i < PLACES; i++) {
      if (stage[i] == Stage.READING && offset[i] < from + bytes && from < offset[i] + length[i]) {
        return true;
      }
    }
    return false;
  }

  boolean isAnyReading() {
    for (Stage each : stage) {
      if (each == Stage.READING) {
        return true;
      }
    }
    return false;
  }

  /**
   * Starts what may start and answers what was read.
   *
   * @param imageTag of the image's completions, in which the place is put
   * @return 0, or the image's error at a comparison, which the primary cannot mend
   */
  int turn(DiskChannel channel, long imageTag, long epoch) {
    for (int i = 0; i < PLACES; i++) {
      if (stage[i] == Stage.WAITING
          && !log.isApplying(offset[i], length[i])
          && !log.isSpilled(offset[i], length[i])
          && image.submit(BlockDevice.READ, 0, offset[i], length[i], data(i), imageTag | i)) {
        stage[i] = Stage.READING;
      }
      if (stage[i] == Stage.READ) {
        if (compares[i] && error[i] < 0) {
          stage[i] = Stage.FREE;
          return error[i];
        }
        if (compares[i] ? answerSums(channel, i, epoch) : answerRead(channel, i, epoch)) {
          stage[i] = Stage.FREE;
        }
      }
    }
    return 0;
  }

  /** The image has read. */
  void completed(int place, int result) {
    stage[place] = Stage.READ;
    error[place] = result;
    if (result == 0) {
      log.overlay(offset[place], length[place], data(place));
    }
  }

  private boolean answerSums(DiskChannel channel, int i, long epoch) {
    int blocks = length[i] / blockBytes;
    int words = (blocks + 63) / 64;
    int head = (int) dyad_disk_need.sizeof();
    long at = channel.begin(head + words * 8, 0);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_need.offset$offset(), offset[i]);
    Memory.putInt(at + dyad_disk_need.blocks$offset(), blocks);
    Memory.putInt(at + dyad_disk_need.flags$offset(), (int) tag[i]);
    long scratch = sums(i) + SUM_BYTES_MAX - BlockSum.BYTES;
    for (int word = 0; word < words; word++) {
      long bits = 0;
      for (int k = word * 64; k < Math.min(blocks, word * 64 + 64); k++) {
        BlockSum.of(data(i) + (long) k * blockBytes, blockBytes, offset[i] / blockBytes + k, scratch);
        if (!Memory.equal(scratch, sums(i) + (long) k * BlockSum.BYTES, BlockSum.BYTES)) {
          bits |= 1L << k;
        }
      }
      Memory.putLong(at + head + 8L * word, bits);
    }
    channel.send(FrameType.DISK_NEED, head + words * 8, epoch);
    return true;
  }

  private boolean answerRead(DiskChannel channel, int i, long epoch) {
    int head = (int) dyad_disk_data.sizeof();
    int bytes = error[i] < 0 ? 0 : length[i];
    long at = channel.begin(head + bytes, 0);
    if (at == 0) {
      return false;
    }
    Memory.putLong(at + dyad_disk_data.tag$offset(), tag[i]);
    Memory.putInt(at + dyad_disk_data.bytes$offset(), bytes);
    Memory.putInt(at + dyad_disk_data.error$offset(), error[i]);
    Memory.copy(data(i), at + head, bytes);
    channel.send(FrameType.DISK_DATA, head + bytes, epoch);
    return true;
  }

  @Override
  public void close() {
    data.close();
    sums.close();
  }
}
