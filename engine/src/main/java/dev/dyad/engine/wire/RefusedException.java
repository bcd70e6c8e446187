package dev.dyad.engine.wire;

/** Something of the peer's was refused, in code that may allocate. The message is the reason's line. */
public final class RefusedException extends Exception {
  private static final long serialVersionUID = 1L;

  private final int code;
  private final long found;
  private final long needed;

  public RefusedException(Reason reason, long found, long needed) {
    super(reason.message(found, needed));
    this.code = reason.code();
    this.found = found;
    this.needed = needed;
  }

  /** A refusal that came from the peer, whose reason we may not know. */
  public RefusedException(int code, long found, long needed) {
    super("the peer refused: " + Reason.message(code, found, needed));
    this.code = code;
    this.found = found;
    this.needed = needed;
  }

  /** Code of a {@link Reason}. */
  public int code() {
    return code;
  }

  public long found() {
    return found;
  }

  public long needed() {
    return needed;
  }
}
