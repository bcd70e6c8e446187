package dev.dyad.engine.arbiter;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A process of its own that asks a file arbiter. */
final class ArbiterChild {
  private ArbiterChild() {}

  /** Arguments: file, host, first generation, last generation, and the step at which to die (or NONE). */
  public static void main(String[] args) throws IOException {
    String dieAt = args[4];
    boolean[] armed = {dieAt.equals("CREATED") || dieAt.equals("SLOT_BEFORE_HEAD") || dieAt.equals("HEAD_WRITTEN")};
    try (FileArbiter arbiter =
        new FileArbiter(
            Path.of(args[0]),
            10_000_000_000L,
            step -> {
              if (armed[0] && step.name().equals(dieAt)) {
                Runtime.getRuntime().halt(9);
              }
            })) {
      armed[0] = true;
      System.out.println("READY");
      System.in.read();
      for (long g = Long.parseLong(args[2]); g <= Long.parseLong(args[3]); g++) {
        System.out.println(g + " " + arbiter.request(g, args[1]) + " " + args[1]);
      }
      System.in.read();
    }
  }

  static Process start(Path file, String host, long first, long last, String dieAt) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), ArbiterChild.class.getName()));
    command.addAll(List.of(file.toString(), host, Long.toString(first), Long.toString(last), dieAt));
    try {
      return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Lets it go on to its next step. */
  static void go(Process child) throws IOException {
    child.getOutputStream().write('\n');
    child.getOutputStream().flush();
  }
}
