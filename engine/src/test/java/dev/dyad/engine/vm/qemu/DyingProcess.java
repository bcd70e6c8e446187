package dev.dyad.engine.vm.qemu;

import static dev.dyad.bindings.abi.linux.linux_h.SYS_getpid;
import static dev.dyad.bindings.abi.linux.linux_h.SYS_userfaultfd;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/** A JVM of its own that does one thing with a QEMU and then dies, or waits to be killed. */
final class DyingProcess {
  static final int DIED_AT_STEP = 77;

  private DyingProcess() {}

  static Process start(String... arguments) throws IOException {
    return startAs(List.of(), System.getProperty("java.class.path"), arguments);
  }

  /**
   * @param prefix what the JVM is run with
   * @param classPath that the user whom the prefix makes of it can read
   */
  static Process startAs(List<String> prefix, String classPath, String... arguments) throws IOException {
    List<String> line = new ArrayList<>(prefix);
    line.addAll(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED", "-cp", classPath, DyingProcess.class.getName()));
    line.addAll(List.of(arguments));
    return new ProcessBuilder(line).redirectError(ProcessBuilder.Redirect.INHERIT).start();
  }

  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "inject" -> inject(Integer.parseInt(arguments[1]), Integer.parseInt(arguments[2]));
      case "pause" -> {
        QemuAttach qemu = QemuAttach.attach(Path.of(arguments[1]));
        qemu.startTracking();
        qemu.pause();
        System.out.println("paused");
        Thread.sleep(Long.MAX_VALUE);
      }
      case "attach" -> {
        try (QemuAttach qemu = QemuAttach.attach(Path.of(arguments[1]))) {
          System.out.println("attached to " + qemu.pid());
        } catch (QemuException e) {
          System.out.println(e.getMessage());
        }
      }
      case "keep" -> {
        Path directory = Path.of(arguments[1]);
        MachineDescription machine = MachineDescription.fromJson(Files.readString(directory.resolve("machine.json")));
        System.out.println(ReceivingQemu.start(machine, ReceivingQemu.Options.in(directory)).pid());
        Thread.sleep(Long.MAX_VALUE);
      }
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  /** Injects a call that makes a descriptor and another, and dies before step number {@code lastStep}; ends with 0 when there are not so many steps. */
  private static void inject(int pid, int lastStep) {
    AtomicInteger step = new AtomicInteger();
    new SyscallInjector(pid, name -> {
      if (step.getAndIncrement() == lastStep) {
        System.out.println(name);
        Runtime.getRuntime().halt(DIED_AT_STEP);
      }
    }).run(calls -> calls.callForDescriptor(descriptor -> {}, SYS_userfaultfd(), 1) + calls.call(SYS_getpid()));
  }
}
