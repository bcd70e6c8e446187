package dev.dyad.engine.cli;

import static dev.dyad.bindings.abi.linux.linux_h.EPERM;
import static dev.dyad.bindings.abi.linux.linux_h.SCHED_RR;

import dev.dyad.bindings.linux.Errno;
import dev.dyad.bindings.linux.Threads;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;

/**
 * Lets the threads that a reply waits for, and that say to the peer that we live, go before everything of ordinary priority on a busy host.
 *
 * <p>They work for a fraction of each epoch and sleep otherwise, so nobody starves; a thread that spins must not have this.
 */
final class RealtimeThreads {
  private static final Set<String> NAMES = Set.of("epoch", "net");

  /** The lowest real-time priority: before every ordinary thread, behind whatever else the host runs in real time. */
  private static final int PRIORITY = 1;

  private RealtimeThreads() {}

  /**
   * Of this process, by the names that the kernel knows them by.
   *
   * @throws CommandFailure with one line when the kernel refuses
   */
  static void raise() {
    try (DirectoryStream<Path> tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
      for (Path task : tasks) {
        if (NAMES.contains(Files.readString(task.resolve("comm")).strip())) {
          int result = Threads.setScheduler(Integer.parseInt(task.getFileName().toString()), SCHED_RR(), PRIORITY);
          if (result == -EPERM()) {
            throw new CommandFailure(ExitCode.PERMISSION, "--realtime: this user may not use real-time priorities: run as root, or allow them (ulimit -r " + PRIORITY + ")");
          }
          if (result < 0) {
            throw new CommandFailure(ExitCode.UNAVAILABLE, "--realtime: the kernel refuses real-time priority: " + Errno.name(-result));
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
