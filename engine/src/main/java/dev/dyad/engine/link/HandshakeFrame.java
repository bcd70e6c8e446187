package dev.dyad.engine.link;

import dev.dyad.bindings.abi.wire.dyad_frame;
import dev.dyad.bindings.abi.wire.dyad_reason;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import dev.dyad.engine.wire.Wire;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/** A frame of the handshake as bytes on the heap: the same frames as in the ring, but of few fixed sizes and without a sequence. Cold code. */
final class HandshakeFrame {
  private static final int PAYLOAD_BYTES_MAX = 256;
  private static final int CRC_FROM = (int) dyad_frame.version$offset();

  private final byte[] bytes;

  private HandshakeFrame(byte[] bytes) {
    this.bytes = bytes;
  }

  static ByteBuffer payload(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  static byte[] reason(RefusedException why) {
    ByteBuffer out = payload((int) dyad_reason.sizeof());
    out.putInt((int) dyad_reason.reason$offset(), why.code());
    out.putLong((int) dyad_reason.found$offset(), why.found());
    out.putLong((int) dyad_reason.needed$offset(), why.needed());
    return out.array();
  }

  static byte[] encode(FrameType type, long generation, byte[] payload) {
    ByteBuffer out = payload(FrameHeader.BYTES + payload.length);
    out.putInt((int) dyad_frame.magic$offset(), FrameHeader.MAGIC);
    out.putShort((int) dyad_frame.version$offset(), (short) Wire.VERSION);
    out.putShort((int) dyad_frame.type$offset(), (short) type.code());
    out.putInt((int) dyad_frame.length$offset(), payload.length);
    out.putLong((int) dyad_frame.generation$offset(), generation);
    out.put(FrameHeader.BYTES, payload);
    out.putInt((int) dyad_frame.crc32c$offset(), crc(out.array()));
    return out.array();
  }

  private static int crc(byte[] frame) {
    CRC32C crc = new CRC32C();
    crc.update(frame, CRC_FROM, frame.length - CRC_FROM);
    return (int) crc.getValue();
  }

  /**
   * Reads one frame and nothing behind it.
   *
   * @throws RefusedException when it is not what is needed, or is the peer's REFUSE
   */
  static HandshakeFrame read(PeerSocket peer, FrameType needed, int payloadBytes) throws IOException, RefusedException {
    byte[] head = peer.read(FrameHeader.BYTES);
    int length = checkHead(ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN));
    ByteBuffer whole = payload(FrameHeader.BYTES + length);
    whole.put(0, head).put(FrameHeader.BYTES, peer.read(length));
    return check(whole.array(), needed, payloadBytes);
  }

  /** Bytes of payload that follow a head. */
  private static int checkHead(ByteBuffer head) throws RefusedException {
    int magic = head.getInt((int) dyad_frame.magic$offset());
    if (magic != FrameHeader.MAGIC) {
      throw new RefusedException(Reason.MAGIC, Integer.toUnsignedLong(magic), FrameHeader.MAGIC);
    }
    int version = Short.toUnsignedInt(head.getShort((int) dyad_frame.version$offset()));
    if (version != Wire.VERSION) {
      throw new RefusedException(Reason.VERSION, version, Wire.VERSION);
    }
    int length = head.getInt((int) dyad_frame.length$offset());
    if (length < 0 || length > PAYLOAD_BYTES_MAX) {
      throw new RefusedException(Reason.LENGTH, Integer.toUnsignedLong(length), PAYLOAD_BYTES_MAX);
    }
    return length;
  }

  /** Checks a frame whose head was found good. */
  static HandshakeFrame check(byte[] bytes, FrameType needed, int payloadBytes) throws RefusedException {
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    int crc = in.getInt((int) dyad_frame.crc32c$offset());
    if (crc != crc(bytes)) {
      throw new RefusedException(Reason.CRC, Integer.toUnsignedLong(crc), Integer.toUnsignedLong(crc(bytes)));
    }
    int type = Short.toUnsignedInt(in.getShort((int) dyad_frame.type$offset()));
    int length = bytes.length - FrameHeader.BYTES;
    if (type == FrameType.REFUSE.code() && length == dyad_reason.sizeof()) {
      int at = FrameHeader.BYTES;
      throw new RefusedException(
          in.getInt(at + (int) dyad_reason.reason$offset()),
          in.getLong(at + (int) dyad_reason.found$offset()),
          in.getLong(at + (int) dyad_reason.needed$offset()));
    }
    if (type != needed.code()) {
      throw new RefusedException(Reason.TYPE, type, needed.code());
    }
    if (length != payloadBytes) {
      throw new RefusedException(Reason.TRUNCATED, length, payloadBytes);
    }
    return new HandshakeFrame(bytes);
  }

  long generation() {
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong((int) dyad_frame.generation$offset());
  }

  /** The payload in a buffer and an array of its own. */
  ByteBuffer payload() {
    ByteBuffer payload = payload(bytes.length - FrameHeader.BYTES);
    payload.put(0, bytes, FrameHeader.BYTES, payload.capacity());
    return payload;
  }

  /** All of the frame, as it travelled. */
  byte[] bytes() {
    return bytes;
  }
}
