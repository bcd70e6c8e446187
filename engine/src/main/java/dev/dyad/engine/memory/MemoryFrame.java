package dev.dyad.engine.memory;

import dev.dyad.bindings.abi.wire.dyad_block;
import dev.dyad.bindings.abi.wire.dyad_memory;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import dev.dyad.engine.wire.Wire;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Payload of a MEMORY frame: names and sizes of the guest's blocks. Cold code. */
public final class MemoryFrame {
  private static final int HEAD_BYTES = (int) dyad_memory.sizeof();
  private static final int BLOCK_BYTES = (int) dyad_block.sizeof();
  private static final long BYTES_MAX = GuestMemory.PAGES_MAX << GuestMemory.PAGE_SHIFT;

  private MemoryFrame() {}

  /** The payload that describes {@code memory}. */
  public static byte[] encode(GuestMemory memory) {
    int blocks = memory.blocks().size();
    if (blocks < 1 || blocks > Wire.BLOCKS_MAX) {
      throw new IllegalArgumentException(Reason.BLOCKS.message(blocks, Wire.BLOCKS_MAX));
    }
    ByteBuffer out = ByteBuffer.allocate(HEAD_BYTES + blocks * (BLOCK_BYTES + Wire.aligned(Wire.BLOCK_NAME_BYTES_MAX)));
    out.order(ByteOrder.LITTLE_ENDIAN);
    out.putLong((int) dyad_memory.state_bytes_max$offset(), memory.state().bytes());
    out.putInt((int) dyad_memory.blocks$offset(), blocks);
    int at = HEAD_BYTES;
    for (GuestMemory.Block block : memory.blocks()) {
      byte[] name = block.name().getBytes(StandardCharsets.UTF_8);
      if (name.length < 1 || name.length > Wire.BLOCK_NAME_BYTES_MAX) {
        throw new IllegalArgumentException(Reason.BLOCK_NAME.message(name.length, Wire.BLOCK_NAME_BYTES_MAX));
      }
      out.putLong(at + (int) dyad_block.bytes$offset(), block.bytes());
      out.putInt(at + (int) dyad_block.name_bytes$offset(), name.length);
      out.put(at + BLOCK_BYTES, name);
      at += BLOCK_BYTES + Wire.aligned(name.length);
    }
    byte[] payload = new byte[at];
    out.get(0, payload);
    return payload;
  }

  /** Whether names, order and sizes are equal. */
  static boolean describesSame(GuestMemory one, GuestMemory other) {
    return one.blocks().equals(other.blocks()) && one.state().equals(other.state());
  }

  /** SHA-256 over {@link #encode}: equal on both sides if and only if names, order and sizes are. */
  public static byte[] digest(GuestMemory memory) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(encode(memory));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every Java platform has it
    }
  }

  /**
   * @param payload address of the payload
   * @param length its bytes
   */
  public static GuestMemory decode(long payload, int length) throws RefusedException {
    byte[] bytes = new byte[length];
    Memory.copyTo(payload, bytes, 0, length);
    return decode(bytes);
  }

  static GuestMemory decode(byte[] payload) throws RefusedException {
    ByteBuffer in = ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN);
    need(payload, HEAD_BYTES);
    long stateBytes = in.getLong((int) dyad_memory.state_bytes_max$offset());
    int blocks = in.getInt((int) dyad_memory.blocks$offset());
    if (blocks < 1 || blocks > Wire.BLOCKS_MAX) {
      throw new RefusedException(Reason.BLOCKS, Integer.toUnsignedLong(blocks), Wire.BLOCKS_MAX);
    }
    needZero(in.getInt((int) dyad_memory.zero$offset()));
    long left = BYTES_MAX - needSize(stateBytes, BYTES_MAX);
    GuestMemory.Builder memory = GuestMemory.builder();
    int at = HEAD_BYTES;
    for (int i = 0; i < blocks; i++) {
      need(payload, at + BLOCK_BYTES);
      long blockBytes = needSize(in.getLong(at + (int) dyad_block.bytes$offset()), left);
      int nameBytes = in.getInt(at + (int) dyad_block.name_bytes$offset());
      needZero(in.getInt(at + (int) dyad_block.zero$offset()));
      if (nameBytes < 1 || nameBytes > Wire.BLOCK_NAME_BYTES_MAX) {
        throw new RefusedException(Reason.BLOCK_NAME, Integer.toUnsignedLong(nameBytes), Wire.BLOCK_NAME_BYTES_MAX);
      }
      at += BLOCK_BYTES;
      need(payload, at + Wire.aligned(nameBytes));
      memory.block(name(in.slice(at, nameBytes)), blockBytes);
      for (int pad = at + nameBytes; pad < at + Wire.aligned(nameBytes); pad++) {
        needZero(payload[pad]);
      }
      at += Wire.aligned(nameBytes);
      left -= blockBytes;
    }
    if (at != payload.length) {
      throw new RefusedException(Reason.TRUNCATED, payload.length, at);
    }
    return memory.build(stateBytes);
  }

  private static String name(ByteBuffer utf8) throws RefusedException {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(utf8).toString(); // reports what is not UTF-8
    } catch (CharacterCodingException e) {
      throw new RefusedException(Reason.BLOCK_NAME, utf8.capacity(), Wire.BLOCK_NAME_BYTES_MAX);
    }
  }

  private static long needSize(long bytes, long bytesMax) throws RefusedException {
    if (bytes <= 0 || bytes > bytesMax || bytes % GuestMemory.PAGE_BYTES != 0) {
      throw new RefusedException(Reason.BLOCK_BYTES, bytes, GuestMemory.PAGE_BYTES);
    }
    return bytes;
  }

  private static void needZero(int value) throws RefusedException {
    if (value != 0) {
      throw new RefusedException(Reason.ZERO_FIELD, value, 0);
    }
  }

  private static void need(byte[] payload, int bytes) throws RefusedException {
    if (payload.length < bytes) {
      throw new RefusedException(Reason.TRUNCATED, payload.length, bytes);
    }
  }
}
