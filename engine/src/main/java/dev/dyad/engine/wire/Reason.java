package dev.dyad.engine.wire;

import dev.dyad.bindings.abi.wire.wire_h;
import org.jspecify.annotations.Nullable;

/**
 * Why something was refused or ended. {@link #NONE} stands for "nothing wrong", so that a check can return one of these without
 * allocating; two numbers, found and needed, travel beside it.
 */
public enum Reason {
  NONE(wire_h.DYAD_REASON_NONE(), "nothing wrong"),

  MAGIC(wire_h.DYAD_REASON_MAGIC(), "not a Dyad frame: magic is %x, needed is %x"),
  VERSION(wire_h.DYAD_REASON_VERSION(), "the peer speaks wire version %d, this side version %d: run the same release of Dyad on both hosts"),
  TYPE(wire_h.DYAD_REASON_TYPE(), "frame type %d is unknown or not expected here (needed is %d)"),
  LENGTH(wire_h.DYAD_REASON_LENGTH(), "a frame claims %d bytes of payload, allowed is %d"),
  CRC(wire_h.DYAD_REASON_CRC(), "a frame's CRC32C is %x, its bytes give %x"),
  SEQUENCE(wire_h.DYAD_REASON_SEQUENCE(), "frame %d came where frame %d was due"),
  ZERO_FIELD(wire_h.DYAD_REASON_ZERO_FIELD(), "a field or padding that must be %2$d holds %1$d"),
  FLAGS(wire_h.DYAD_REASON_FLAGS(), "flags %x, known are %x"),
  RECORD_KIND(wire_h.DYAD_REASON_RECORD_KIND(), "page record of unknown kind %d (highest known is %d)"),
  RECORD_LENGTH(wire_h.DYAD_REASON_RECORD_LENGTH(), "a page record needs %d bytes, its frame has %d left"),
  DELTA(wire_h.DYAD_REASON_DELTA(), "a page difference has %d bytes, its masks ask for %d"),
  PAGE_OUTSIDE(wire_h.DYAD_REASON_PAGE_OUTSIDE(), "page %d is outside of the guest's %d pages"),
  BLOCKS(wire_h.DYAD_REASON_BLOCKS(), "%d memory blocks, allowed are 1 to %d"),
  BLOCK_NAME(wire_h.DYAD_REASON_BLOCK_NAME(), "a memory block's name has %d bytes, allowed are 1 to %d"),
  BLOCK_BYTES(wire_h.DYAD_REASON_BLOCK_BYTES(), "a memory block of %d bytes is not a positive multiple of %d within the bound"),
  TRUNCATED(wire_h.DYAD_REASON_TRUNCATED(), "a frame's payload ends after %d bytes, its content needs %d"),

  GENERATION(wire_h.DYAD_REASON_GENERATION(), "a frame of generation %d came in generation %d"),
  EPOCH(wire_h.DYAD_REASON_EPOCH(), "a frame of epoch %d came where epoch %d was due"),
  UNEXPECTED(wire_h.DYAD_REASON_UNEXPECTED(), "a frame of type %d must not come in this state (%d)"),
  BASELINE(wire_h.DYAD_REASON_BASELINE(), "baseline flag is %d where %d was due"),
  SEAL_PAGES(wire_h.DYAD_REASON_SEAL_PAGES(), "the epoch has %d pages, its seal says %d"),
  SEAL_BYTES(wire_h.DYAD_REASON_SEAL_BYTES(), "the epoch has %d bytes, its seal says %d"),
  SEAL_FRAMES(wire_h.DYAD_REASON_SEAL_FRAMES(), "the epoch has %d frames, its seal says %d"),
  STATE_BYTES(wire_h.DYAD_REASON_STATE_BYTES(), "the machine state has %d bytes, its block has room for %d"),

  EPOCH_BYTES(wire_h.DYAD_REASON_EPOCH_BYTES(), "an epoch of more than %d bytes does not fit the standby's epoch buffer of %d bytes: shorten the period or raise the bound"),
  RING_BYTES(wire_h.DYAD_REASON_RING_BYTES(), "a ring of %d bytes was asked for, needed is a power of two of at least %d"),
  PAGE_BYTES(wire_h.DYAD_REASON_PAGE_BYTES(), "the peer's pages have %d bytes, ours %d"),
  MEMORY(wire_h.DYAD_REASON_MEMORY(), "the guest needs %d bytes of memory, the standby can give %d"),
  MACHINE(wire_h.DYAD_REASON_MACHINE(), "the standby cannot build this machine (%d, %d): see its own message"),

  ROLE(wire_h.DYAD_REASON_ROLE(), "the peer has role %d, needed is role %d (1 primary, 2 standby)"),
  KEY_NEEDED(wire_h.DYAD_REASON_KEY_NEEDED(), "one side has no key (authentication %d, the other side %d): give both the same key file"),
  KEY_UNKNOWN(wire_h.DYAD_REASON_KEY_UNKNOWN(), "unknown kind of authentication %d (known are 0 to %d)"),
  PROOF(wire_h.DYAD_REASON_PROOF(), "the peer does not know the key: give both hosts the same key file"),
  BUSY(wire_h.DYAD_REASON_BUSY(), "%d handshakes are under way, allowed are %d: try again"),
  CHANNEL(wire_h.DYAD_REASON_CHANNEL(), "channel %d is not served here (highest is %d)"),

  DETACHED(wire_h.DYAD_REASON_DETACHED(), "the primary detached from its guest"),
  SHUTDOWN(wire_h.DYAD_REASON_SHUTDOWN(), "the peer was told to end"),
  FENCED(wire_h.DYAD_REASON_FENCED(), "the peer lost generation %d to generation %d"),
  GUEST_ENDED(wire_h.DYAD_REASON_GUEST_ENDED(), "the guest ended");

  private static final int CODES = 256;
  private static final @Nullable Reason[] BY_CODE = new @Nullable Reason[CODES];

  static {
    for (Reason reason : values()) {
      BY_CODE[reason.code] = reason;
    }
  }

  private final int code;
  private final String text;

  Reason(int code, String text) {
    this.code = code;
    this.text = text;
  }

  public int code() {
    return code;
  }

  /** The reason with this code; one that a newer peer may send and we do not know is null. */
  public static @Nullable Reason of(int code) {
    return code >= 0 && code < CODES ? BY_CODE[code] : null;
  }

  /** One line with the numbers in it. */
  public String message(long found, long needed) {
    return String.format(text, found, needed);
  }

  /** The line for a code that came from the peer. */
  public static String message(int code, long found, long needed) {
    Reason reason = of(code);
    return reason == null ? "reason " + code + " (" + found + ", " + needed + "), unknown to this release" : reason.message(found, needed);
  }
}
