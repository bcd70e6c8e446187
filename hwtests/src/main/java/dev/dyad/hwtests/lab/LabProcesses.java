package dev.dyad.hwtests.lab;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * The QEMUs of a lab: those whose working directory is the lab's folder, whoever started them and whatever became of him. So there is no moment at which one
 * runs and is not written down yet. Any thread.
 */
final class LabProcesses {
  private static final String NAME = "dyad-lab-";
  private static final int END_SECONDS = 20;
  private static final int POLL_MILLIS = 5;

  private final Path folder;
  private boolean over;

  LabProcesses(Path folder) {
    this.folder = folder;
  }

  /** What QEMU's {@code -name} of a host has to be. */
  static String name(int number) {
    return NAME + number;
  }

  /** Starts a host's QEMU, unless {@link #end} was called. */
  synchronized ProcessHandle start(List<String> command, Path log) throws IOException {
    if (over) {
      throw new IOException("the lab ends: no host is started any more");
    }
    return new ProcessBuilder(command).directory(folder.toFile()).redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile())).redirectErrorStream(true)
        .redirectOutput(log.toFile()).start().toHandle();
  }

  /** Ends all that run, and starts none any more. */
  synchronized void end() throws IOException {
    over = true;
    end(folder);
  }

  /** Ends all that run in a folder, and waits until they are gone. */
  static void end(Path folder) throws IOException {
    long deadline = System.nanoTime() + END_SECONDS * 1_000_000_000L;
    for (var running = in(folder); !running.isEmpty(); running = in(folder)) {
      if (System.nanoTime() - deadline > 0) {
        throw new IOException("processes " + running.stream().map(ProcessHandle::pid).toList() + " of the lab in " + folder + " do not end");
      }
      running.forEach(ProcessHandle::destroyForcibly);
      LabHost.pause(POLL_MILLIS);
    }
  }

  /** Those that run in a folder; dead ones that nobody has taken notice of are none. */
  static List<ProcessHandle> in(Path folder) throws IOException {
    var above = folder.toAbsolutePath().resolveSibling(".").normalize();
    var real = (Files.exists(above) ? above.toRealPath() : above).resolve(folder.getFileName());
    return ProcessHandle.allProcesses().filter(process -> worksIn(real, process.pid()) && !name(process.pid()).isEmpty()).toList();
  }

  /** The one of a host. */
  static Optional<ProcessHandle> of(Path folder, int number) throws IOException {
    return in(folder).stream().filter(process -> name(process.pid()).equals(name(number))).findFirst();
  }

  private static boolean worksIn(Path folder, long pid) {
    try {
      var directory = Files.readSymbolicLink(Path.of("/proc", String.valueOf(pid), "cwd")).toString();
      return directory.equals(folder.toString()) || directory.equals(folder + " (deleted)");
    } catch (IOException e) {
      return false; // gone, or another user's
    }
  }

  /** What {@link #name(int)} gave a process, or nothing when it is no QEMU of a lab. */
  private static String name(long pid) {
    try {
      var words = new String(Files.readAllBytes(Path.of("/proc", String.valueOf(pid), "cmdline")), StandardCharsets.UTF_8).split("\0");
      return words[0].contains("qemu-system-") ? Arrays.stream(words).filter(word -> word.startsWith(NAME)).findFirst().orElse("") : "";
    } catch (IOException e) {
      return "";
    }
  }
}
