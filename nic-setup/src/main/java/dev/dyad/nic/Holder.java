package dev.dyad.nic;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * A process that does nothing but keep a namespace alive; others enter by its pid.
 *
 * @param pid its number
 * @param startTicks when it started (field 22 of {@code /proc/PID/stat}), so that a number that was given anew is not taken for it
 */
record Holder(long pid, long startTicks) {
  private static final long READY_NANOS_MAX = 5_000_000_000L;
  private static final String STAT_OF_NOBODY = "";

  /**
   * Starts one and waits until it can be entered.
   *
   * @param tied it ends when this process does, by whatever death (it reads a pipe of ours); otherwise it outlives us
   */
  static Process start(List<String> command, boolean tied) {
    try {
      ProcessBuilder builder = new ProcessBuilder(Commands.located(command)).redirectErrorStream(true);
      builder.redirectOutput(new File("/dev/null"));
      if (!tied) {
        builder.redirectInput(new File("/dev/null"));
      }
      return builder.start();
    } catch (IOException e) {
      throw new IllegalStateException("'" + command.getFirst() + "' cannot be started: is util-linux installed?", e);
    }
  }

  /** Waits until {@code probe} (with the pid in it) works, which it does not before the namespaces are made. */
  static Holder await(Process process, List<String> probe) {
    long start = System.nanoTime();
    Commands.Result last = new Commands.Result(1, "");
    // unshare(1) replaces itself once the namespaces are there and mapped; before that a probe would enter our own.
    while (process.isAlive() && System.nanoTime() - start < READY_NANOS_MAX) {
      String name = nameOf(process.pid());
      if (!name.isEmpty() && !name.equals("unshare") && !name.equals("nsenter") && !name.startsWith("jspawnhelper") && !name.equals("java")) {
        last = Commands.run(probe);
        if (last.exit() == 0) {
          return new Holder(process.pid(), startTicks(process.pid()));
        }
      }
      LockSupport.parkNanos(2_000_000);
    }
    process.destroyForcibly();
    throw new IllegalStateException(
        "no namespace without root here"
            + (last.output().isEmpty() ? "" : " (" + last.output() + ")")
            + ": user namespaces must be allowed (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone,"
            + " kernel.apparmor_restrict_unprivileged_userns); or run it as root without --userns");
  }

  boolean isAlive() {
    return startTicks(pid) == startTicks && startTicks >= 0;
  }

  private static String stat(long pid) {
    try {
      return Files.readString(Path.of("/proc/" + pid + "/stat"));
    } catch (IOException e) {
      return STAT_OF_NOBODY;
    }
  }

  private static String nameOf(long pid) {
    String stat = stat(pid);
    int open = stat.indexOf('(');
    int close = stat.lastIndexOf(')');
    return open < 0 || close < open ? "" : stat.substring(open + 1, close);
  }

  static long startTicks(long pid) {
    String stat = stat(pid);
    int close = stat.lastIndexOf(')');
    if (close < 0) {
      return -1;
    }
    String[] fields = stat.substring(close + 2).split(" ");
    return fields[0].equals("Z") ? -1 : Long.parseLong(fields[19]);
  }

  static List<String> with(List<String> command, String pid) {
    List<String> filled = new ArrayList<>(command);
    filled.replaceAll(word -> word.equals(Step.HOLDER) ? pid : word);
    return filled;
  }
}
