package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.guest.GuestMachine;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;

/** A QEMU without a guest, there in a moment: its vCPU does not run. */
public record IdleQemu(Process process, Path qmp) implements AutoCloseable {

  public static IdleQemu start(List<String> runWith, String... more) {
    TestGuest.requireQemu();
    try {
      Path directory = TestGuest.directory();
      Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxrwxrwx"));
      Path qmp = directory.resolve("qmp");
      List<String> line = new ArrayList<>(runWith);
      line.addAll(List.of("qemu-system-x86_64", "-M", "q35", "-nodefaults", "-vga", "none", "-display", "none", "-m", "32", "-S", "-qmp", "unix:" + qmp + ",server=on,wait=off"));
      line.addAll(List.of(more));
      Process process = new ProcessBuilder(line).directory(directory.toFile()).redirectErrorStream(true).redirectOutput(directory.resolve("qemu.log").toFile()).start();
      long end = System.nanoTime() + 20_000_000_000L;
      while (!Files.exists(qmp)) {
        if (System.nanoTime() > end || !process.isAlive()) {
          throw new AssertionError("QEMU made no QMP socket: " + GuestMachine.consoleLines(directory.resolve("qemu.log")));
        }
        Thread.sleep(10);
      }
      return new IdleQemu(process, qmp);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  public int pid() {
    return (int) process.pid();
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
