package dev.dyad.engine.disk;

/**
 * Carries out what {@link Resync} chooses: reads pieces from the image, sends them or their checksums, and leaves half of the ring and of the
 * epoch to the guest. Owned by a {@link MirroredDisk}. Thread: disk.
 */
final class Leveller {
  private final BlockDevice image;
  private final int blockBytes;
  private final DifferenceMarks marks;
  private final MirrorStream stream;
  private final Resync resync;
  private final RequestTable requests;

  Leveller(BlockDevice image, DiskGeometry geometry, DifferenceMarks marks, MirrorStream stream, Resync resync, RequestTable requests) {
    this.image = image;
    blockBytes = geometry.blockBytes();
    this.marks = marks;
    this.stream = stream;
    this.resync = resync;
    this.requests = requests;
  }

  /**
   * One turn.
   *
   * @param tag of the image's completions, in which the piece's number is put
   * @param guestWaits whether a request of the guest waits for room: then nothing is begun
   */
  void turn(long nowNanos, long tag, boolean guestWaits) {
    for (int piece = 0; piece < resync.pieces(); piece++) {
      if (resync.state[piece] == Resync.READY) {
        send(piece);
        read(nowNanos, tag, guestWaits); // at once: sending all that is ready takes longer than the device needs for what it has
      }
    }
    while (read(nowNanos, tag, guestWaits)) {}
  }

  /** Begins with another piece; false when that may not be or there is none. */
  private boolean read(long nowNanos, long tag, boolean guestWaits) {
    if (guestWaits || !stream.hasRoomForCopies() || image.inFlight() + 1 >= image.queueDepth()) {
      return false;
    }
    int piece = resync.next(nowNanos, requests);
    if (piece < 0) {
      return false;
    }
    if (!image.submit(BlockDevice.READ, 0, resync.offset(piece), resync.bytes(piece), resync.buffer(piece), tag | piece)) {
      resync.giveUp(piece);
      return false;
    }
    return true;
  }

  private void send(int piece) {
    if (resync.isStale(piece)) {
      resync.giveUp(piece);
    } else if (resync.kind[piece] != Resync.COPY) {
      if (stream.sums(resync, piece, blockBytes)) {
        resync.asked(piece);
      }
    } else if (stream.data(resync.offset(piece), resync.bytes(piece), resync.buffer(piece))) {
      marks.copied(resync.firstBlock[piece], resync.blockCount[piece]);
      resync.copied(piece);
    }
  }
}
