package dev.dyad.engine.disk;

import static dev.dyad.bindings.abi.linux.linux_h.EIO;
import static dev.dyad.engine.disk.BlockDevice.FLUSH;
import static dev.dyad.engine.disk.BlockDevice.FUA;
import static dev.dyad.engine.disk.BlockDevice.READ;

import dev.dyad.bindings.linux.Memory;

/**
 * The guest's requests from intake to answer: each waits until it may start, goes to the image and, when it changes something, into the
 * stream to the standby in the same instant, and is answered when it is on the image. Owned by a {@link MirroredDisk}. Thread: disk.
 *
 * <p>What waits, waits in its order as far as that matters: for an extent to become active, for a write that it overlaps, for room in the
 * ring, in the epoch or in the device.
 *
 * <p>Must never happen: a write to an extent that is not durably active; two writes that overlap in flight, since the ring and the
 * device could then order them differently; an answer to a write that is neither on the image nor, with the image failed, in the ring to a
 * level standby.
 */
final class GuestRequests {
  private final BlockDevice image;
  private final ActivityLog activity;
  private final DifferenceMarks marks;
  private final MirrorStream stream;
  private final Resync resync;
  private final Standing standing;
  private final int extentShift;
  private final RequestTable table;
  private BlockDevice.Completions answers = (tag, error) -> {};
  private boolean starting;
  private boolean stalled;
  private long stalls;
  private int answered;

  GuestRequests(
      BlockDevice image,
      DiskMetadata metadata,
      DifferenceMarks marks,
      MirrorStream stream,
      Resync resync,
      Standing standing,
      int capacity) {
    this.image = image;
    this.marks = marks;
    this.stream = stream;
    this.resync = resync;
    this.standing = standing;
    activity = metadata.activity();
    extentShift = Integer.numberOfTrailingZeros(metadata.geometry().extentBytes());
    table = new RequestTable(capacity);
  }

  void onCompletion(BlockDevice.Completions listener) {
    answers = listener;
  }

  RequestTable table() {
    return table;
  }

  /** Whether the ring or the epoch had no room for a request when they were last started. */
  boolean isStalled() {
    return stalled;
  }

  /** How often a request waited because of that. */
  long stalls() {
    return stalls;
  }

  /** Answers given since it was asked last. */
  int takeAnswered() {
    int count = answered;
    answered = 0;
    return count;
  }

  boolean submit(int op, int flags, long offset, long bytes, long hostVirt, long tag) {
    if (table.isFull()) {
      return false;
    }
    table.add(op, flags, offset, bytes, hostVirt, tag);
    start();
    return true;
  }

  /** Starts what waits. An answer may bring new requests: they are seen in the same turn. */
  void start() {
    if (starting) {
      return;
    }
    starting = true;
    stalled = false;
    activity.askAnew();
    for (int i = 0; i < table.queued(); i++) {
      int slot = table.queued(i);
      boolean went =
          switch (table.op[slot]) {
            case READ -> startRead(slot, i);
            case FLUSH -> startFlush(slot, i);
            default -> startWrite(slot, i);
          };
      if (!went && table.op[slot] == READ && !standing.isImageFailed()) {
        break; // the image is full
      }
    }
    table.compact();
    starting = false;
  }

  private boolean startRead(int slot, int place) {
    if (standing.isImageFailed()) {
      return startRemoteRead(slot, place);
    }
    if (!image.submit(READ, 0, table.offset[slot], table.bytes[slot], table.hostVirt[slot], tag(slot))) {
      return false;
    }
    table.take(place);
    table.start(slot, RequestTable.LOCAL);
    return true;
  }

  private boolean startRemoteRead(int slot, int place) {
    if (!standing.isLevel()) {
      table.take(place);
      answer(slot, -EIO());
      return true;
    }
    if (!stream.read(tag(slot), table.offset[slot], (int) table.bytes[slot])) {
      stall();
      return false;
    }
    table.take(place);
    table.start(slot, RequestTable.REMOTE);
    return true;
  }

  private boolean startFlush(int slot, int place) {
    stream.flushed();
    if (standing.isImageFailed()) {
      table.take(place);
      answer(slot, standing.isLevel() ? 0 : -EIO());
      return true;
    }
    if (!image.submit(FLUSH, 0, 0, 0, 0, tag(slot))) {
      return false;
    }
    table.take(place);
    table.start(slot, RequestTable.LOCAL);
    return true;
  }

  private boolean startWrite(int slot, int place) {
    long offset = table.offset[slot];
    long bytes = table.bytes[slot];
    boolean imageFailed = standing.isImageFailed();
    if (imageFailed && !standing.isLevel()) {
      table.take(place);
      answer(slot, -EIO());
      return true;
    }
    if (table.overlapsWrite(offset, bytes)) {
      return false;
    }
    if (!imageFailed && (!activity.ask((int) (offset >>> extentShift), lastExtent(offset, bytes)) || image.inFlight() == image.queueDepth())) {
      return false;
    }
    boolean mirroring = standing.isMirroring();
    if (mirroring && !stream.hasRoomForChange(table.op[slot], bytes)) {
      stall();
      return false;
    }
    table.take(place);
    if (!imageFailed) {
      writeToImage(slot, offset, bytes); // first, so that it is at work while the data is copied into the ring
    }
    if (mirroring) {
      if (!stream.change(table.op[slot], offset, bytes, table.hostVirt[slot])) {
        throw new IllegalStateException("the ring took less than it had room for");
      }
      marks.mirrored(offset, bytes);
    } else {
      marks.alone(offset, bytes);
    }
    resync.touch(offset, bytes);
    if ((table.flags[slot] & FUA) != 0) {
      stream.flushed();
    }
    if (imageFailed) {
      answer(slot, 0);
    }
    return true;
  }

  private void writeToImage(int slot, long offset, long bytes) {
    hold(offset, bytes);
    table.markSide[slot] = marks.writeBegun();
    table.start(slot, RequestTable.LOCAL);
    if (!image.submit(table.op[slot], table.flags[slot], offset, bytes, table.hostVirt[slot], tag(slot))) {
      throw new IllegalStateException("the image took less than its queue depth");
    }
  }

  private void hold(long offset, long bytes) {
    int last = lastExtent(offset, bytes);
    for (int extent = (int) (offset >>> extentShift); extent <= last; extent++) {
      activity.hold(extent);
    }
  }

  private void letGo(long offset, long bytes) {
    int last = lastExtent(offset, bytes);
    for (int extent = (int) (offset >>> extentShift); extent <= last; extent++) {
      activity.letGo(extent);
    }
  }

  private int lastExtent(long offset, long bytes) {
    return (int) ((offset + bytes - 1) >>> extentShift);
  }

  private void stall() {
    stalled = true;
    stalls++;
  }

  private long tag(int slot) {
    return (table.use[slot] & 0xffffffL) << 32 | slot;
  }

  private void answer(int slot, int error) {
    long tag = table.tag[slot];
    table.end(slot);
    answered++;
    answers.completed(tag, error);
  }

  // ---- ends

  /** The image has done the request of that slot. */
  void completed(int slot, int error) {
    if (table.isWrite(slot)) {
      letGo(table.offset[slot], table.bytes[slot]);
      marks.writeEnded(table.markSide[slot]);
    }
    if (table.op[slot] == FLUSH) {
      stream.flushed();
    }
    if (error == 0) {
      answer(slot, 0);
      return;
    }
    standing.failImage(error);
    if (standing.isLevel() && table.op[slot] == READ) {
      askAgain(slot);
      return;
    }
    // A write is in the ring of a level standby already, and a flush stands for what is there.
    answer(slot, standing.isLevel() ? 0 : error);
  }

  /** The standby's disk has what the image could not give. */
  private void askAgain(int slot) {
    long offset = table.offset[slot];
    long bytes = table.bytes[slot];
    long hostVirt = table.hostVirt[slot];
    long tag = table.tag[slot];
    table.end(slot);
    table.add(READ, 0, offset, bytes, hostVirt, tag);
  }

  /**
   * The standby's answer to a read.
   *
   * @param data address of that many bytes, when there is no error
   * @return false when nobody asked that
   */
  boolean answeredRemotely(long tag, int error, long data, int bytes) {
    int slot = (int) tag;
    if (slot < 0 || slot >= table.capacity() || table.state[slot] != RequestTable.REMOTE || tag(slot) != tag) {
      return false;
    }
    if (error == 0) {
      if (bytes != table.bytes[slot]) {
        return false;
      }
      Memory.copy(data, table.hostVirt[slot], bytes);
    }
    answer(slot, error);
    return true;
  }

  /** Nobody will answer what the standby was asked. */
  void standbyLost() {
    for (int slot = 0; slot < table.capacity(); slot++) {
      if (table.state[slot] == RequestTable.REMOTE) {
        answer(slot, -EIO());
      }
    }
  }
}
