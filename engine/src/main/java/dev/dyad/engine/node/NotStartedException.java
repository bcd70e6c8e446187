package dev.dyad.engine.node;

import dev.dyad.bindings.abi.linux.linux_h;
import dev.dyad.bindings.linux.NativeException;

/** A node could not be started; the message is one line: what was found, what is needed, what to run. */
public final class NotStartedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** What kind of thing stands in the way. */
  public enum Obstacle {
    /** Something is not there, does not answer or cannot do it. */
    UNAVAILABLE,
    /** The kernel or an owner refuses. */
    PERMISSION,
    /** Another host goes on with this guest. */
    HELD_ELSEWHERE
  }

  private final Obstacle obstacle;

  public NotStartedException(Obstacle obstacle, String line) {
    super(line);
    this.obstacle = obstacle;
  }

  /** Around whatever a part reported. */
  static NotStartedException of(RuntimeException problem) {
    if (problem instanceof NotStartedException already) {
      return already;
    }
    NotStartedException wrapped = new NotStartedException(isRefusal(problem) ? Obstacle.PERMISSION : Obstacle.UNAVAILABLE, String.valueOf(problem.getMessage()));
    wrapped.initCause(problem);
    return wrapped;
  }

  private static boolean isRefusal(Throwable problem) {
    for (Throwable at = problem; at != null; at = at.getCause()) {
      if (at instanceof NativeException refused && (refused.errno() == linux_h.EPERM() || refused.errno() == linux_h.EACCES())) {
        return true;
      }
    }
    String text = String.valueOf(problem.getMessage());
    return text.startsWith("not allowed") || text.contains("forbid");
  }

  public Obstacle obstacle() {
    return obstacle;
  }
}
