package dev.dyad.engine.wire;

/**
 * Decides whether the bytes at an address are a frame of this version, whole and undamaged, in its place in the sequence and of the
 * session's generation. Reads nothing beyond what the caller says is there, and keeps the two numbers that tell why not.
 *
 * <p>One thread; no allocation. What is inside the payload is the business of the frame's own class.
 */
public final class FrameParser {

  /** What {@link #parse} found. */
  public enum Result {
    /** A good frame of {@link #type} and {@link #frameBytes}. */
    FRAME,
    /** Good so far; more bytes must arrive. */
    INCOMPLETE,
    /** Not a frame that may come here: {@link #reason}, {@link #found}, {@link #needed}. */
    REFUSED
  }

  private final Crc32c crc;
  private final int payloadBytesMax;
  private final long generation;
  private long sequence;

  private FrameType type = FrameType.BYE;
  private int frameBytes;
  private Reason reason = Reason.NONE;
  private long found;
  private long needed;

  /**
   * @param crc over the region in which all frames lie
   * @param payloadBytesMax bound of a frame's payload
   * @param generation the session's; every frame carries it
   */
  public FrameParser(Crc32c crc, int payloadBytesMax, long generation) {
    this.crc = crc;
    this.payloadBytesMax = payloadBytesMax;
    this.generation = generation;
  }

  /**
   * @param frame address of the first byte
   * @param available bytes that may be read from there
   */
  public Result parse(long frame, long available) {
    if (available < FrameHeader.BYTES) {
      return Result.INCOMPLETE;
    }
    if (FrameHeader.magic(frame) != FrameHeader.MAGIC) {
      return refuse(Reason.MAGIC, Integer.toUnsignedLong(FrameHeader.magic(frame)), FrameHeader.MAGIC);
    }
    if (FrameHeader.version(frame) != Wire.VERSION) {
      return refuse(Reason.VERSION, FrameHeader.version(frame), Wire.VERSION);
    }
    int length = FrameHeader.length(frame);
    if (length < 0 || length > payloadBytesMax || length % Wire.ALIGN != 0) {
      return refuse(Reason.LENGTH, Integer.toUnsignedLong(length), payloadBytesMax);
    }
    if (available < FrameHeader.BYTES + length) {
      return Result.INCOMPLETE;
    }
    int crcNeeded = FrameHeader.crcNeeded(frame, crc);
    if (FrameHeader.crc(frame) != crcNeeded) {
      return refuse(Reason.CRC, Integer.toUnsignedLong(FrameHeader.crc(frame)), Integer.toUnsignedLong(crcNeeded));
    }
    FrameType typeFound = FrameType.of(FrameHeader.type(frame));
    if (typeFound == null) {
      return refuse(Reason.TYPE, FrameHeader.type(frame), 0);
    }
    if (FrameHeader.generation(frame) != generation) {
      return refuse(Reason.GENERATION, FrameHeader.generation(frame), generation);
    }
    if (FrameHeader.sequence(frame) != sequence) {
      return refuse(Reason.SEQUENCE, FrameHeader.sequence(frame), sequence);
    }
    sequence++;
    type = typeFound;
    frameBytes = FrameHeader.BYTES + length;
    return Result.FRAME;
  }

  private Result refuse(Reason why, long numberFound, long numberNeeded) {
    reason = why;
    found = numberFound;
    needed = numberNeeded;
    return Result.REFUSED;
  }

  public FrameType type() {
    return type;
  }

  /** Header and payload. */
  public int frameBytes() {
    return frameBytes;
  }

  public Reason reason() {
    return reason;
  }

  public long found() {
    return found;
  }

  public long needed() {
    return needed;
  }
}
