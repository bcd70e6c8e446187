package dev.dyad.engine.cli;

/** Ends a command with one line for the user and an {@link ExitCode}. */
public final class CommandFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int exitCode;

  /**
   * @param exitCode one of {@link ExitCode}
   * @param line what was found, what is needed, what to run
   */
  public CommandFailure(int exitCode, String line) {
    super(line);
    this.exitCode = exitCode;
  }

  public int exitCode() {
    return exitCode;
  }
}
