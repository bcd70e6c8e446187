package dev.dyad.engine.disk;

import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameParser;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.Wire;

/**
 * Frames to and from the other host's disk: a replicated ring each way. Belongs to the disk thread and owns both links.
 *
 * <p>To send: {@link #begin}, write the payload there, {@link #send}. To receive: while {@link #receive}, look at {@link #type} and
 * {@link #payload}, then {@link #consume}, or leave it there and come back. A frame that does not parse ends the channel with its reason.
 */
public final class DiskChannel implements AutoCloseable {
  /** Telling costs a system call, and the other side's thread a wake-up; not telling leaves it more to do at the seal, this much some 50 us. */
  private static final long UNTOLD_BYTES_MAX = 256 << 10;

  private static final int UNTOLD_SHARE_OF_RING = 16;

  private final ReplicationLink out;
  private final ReplicaLink in;
  private final Crc32c outCrc;
  private final FrameParser parser;
  private final long generation;
  private final int payloadBytesMax;
  private final long capacity;
  private final long untoldBytesMax;
  private long written;
  private long told;
  private long sequence;
  private long taken;
  private boolean parsed;
  private boolean closed;
  private String failure = "";

  public DiskChannel(ReplicationLink out, ReplicaLink in, long generation) {
    this.out = out;
    this.in = in;
    this.generation = generation;
    capacity = out.ring().capacityBytes();
    untoldBytesMax = Math.min(UNTOLD_BYTES_MAX, capacity / UNTOLD_SHARE_OF_RING);
    payloadBytesMax = Wire.payloadBytesMax(capacity);
    outCrc = new Crc32c(out.ring().baseVirt(), 2 * capacity);
    parser =
        new FrameParser(
            new Crc32c(in.ring().baseVirt(), 2 * in.ring().capacityBytes()), Wire.payloadBytesMax(in.ring().capacityBytes()), generation);
    written = out.released();
    told = written;
    taken = out.released();
  }

  /** Bound of a payload. */
  int payloadBytesMax() {
    return payloadBytesMax;
  }

  /** Bytes that could be written now, heads included. */
  long room() {
    return capacity - (written - out.released());
  }

  long capacity() {
    return capacity;
  }

  /**
   * Whether there is room for a frame now.
   *
   * @param reserve bytes that must stay free behind it
   */
  boolean fits(int payloadBytes, long reserve) {
    return isUp() && room() >= FrameHeader.BYTES + Wire.aligned(payloadBytes) + reserve;
  }

  /**
   * Room for a frame, as {@link #fits}.
   *
   * @return address of its payload, 0 when there is no room now
   */
  long begin(int payloadBytes, long reserve) {
    return fits(payloadBytes, reserve) ? FrameHeader.payload(out.ring().address(written)) : 0;
  }

  /** Sends the frame whose payload was written since {@link #begin}; padding must be zero already. */
  void send(FrameType type, int payloadBytes, long epoch) {
    sendLater(type, payloadBytes, epoch);
    tell();
  }

  /** The same for a frame of which nothing follows yet: the other side is told of it with the next one that is sent, or when there are many. */
  void sendLater(FrameType type, int payloadBytes, long epoch) {
    long frame = out.ring().address(written);
    int length = Wire.aligned(payloadBytes);
    FrameHeader.write(frame, type, length, generation, epoch, sequence++);
    FrameHeader.close(frame, outCrc);
    written += FrameHeader.BYTES + length;
    if (written - told >= untoldBytesMax) {
      tell();
    }
  }

  private void tell() {
    told = written;
    out.publish(written);
  }

  /** Whether a frame is there to be looked at. */
  boolean receive() {
    if (parsed && !closed) {
      return true;
    }
    if (closed || !failure.isEmpty()) {
      return false;
    }
    switch (parser.parse(in.ring().address(taken), in.received() - taken)) {
      case FRAME -> parsed = true;
      case INCOMPLETE -> {}
      case REFUSED ->
          fail("disk ring: " + parser.reason().message(parser.found(), parser.needed()));
    }
    return parsed;
  }

  FrameType type() {
    return parser.type();
  }

  long payload() {
    return FrameHeader.payload(in.ring().address(taken));
  }

  int length() {
    return parser.frameBytes() - FrameHeader.BYTES;
  }

  long epoch() {
    return FrameHeader.epoch(in.ring().address(taken));
  }

  void consume() {
    taken += parser.frameBytes();
    parsed = false;
    in.release(taken);
  }

  int poll() {
    return closed ? 0 : out.poll() + in.poll();
  }

  /** Names what wakes when {@link #poll} has something to do. */
  void rest(DiskRest rest) {
    rest.on(out);
    rest.on(in);
  }

  /** Ends the channel for a reason of ours. */
  void fail(String reason) {
    if (failure.isEmpty()) {
      failure = reason;
    }
  }

  boolean isUp() {
    return !closed && failure.isEmpty() && out.isUp() && in.isUp();
  }

  /** Why it is down, in one line. */
  String failure() {
    return !failure.isEmpty() ? failure : !out.isUp() ? out.failure() : in.failure();
  }

  @Override
  public void close() {
    closed = true;
    out.close();
    in.close();
  }
}
