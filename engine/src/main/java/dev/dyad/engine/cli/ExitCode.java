package dev.dyad.engine.cli;

/** Exit codes that scripts can rely on; the numbers are those of {@code sysexits.h} where it has one. */
public final class ExitCode {
  /** Done, and nothing was lost. */
  public static final int OK = 0;

  /** It ran, and its finding is bad: something was lost, reset, missed or differs. */
  public static final int FINDING = 1;

  /** The command line is wrong. */
  public static final int USAGE = 64;

  /** A file, a machine description or a record is malformed or does not fit. */
  public static final int DATA = 65;

  /** A peer, socket, process or file was not found or does not answer. */
  public static final int UNAVAILABLE = 69;

  /** A defect of ours. */
  public static final int SOFTWARE = 70;

  /** The kernel refused: missing permission, capability or feature. */
  public static final int PERMISSION = 77;

  /** The other side won the generation: this side has fenced itself. */
  public static final int FENCED = 80;

  private ExitCode() {}
}
