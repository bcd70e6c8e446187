package dev.dyad.engine.vm.qemu;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Finds a QEMU's process by its QMP socket, and its QMP socket by its process. */
final class QemuLocator {
  private QemuLocator() {}

  /** The process at the other end; where a manager made the socket, the QEMU whose command line names it. */
  static QemuProcess processOf(QmpChannel qmp) {
    QemuProcess peer = new QemuProcess(qmp.peerPid());
    if (peer.isQemu()) {
      return peer;
    }
    List<QemuProcess> named = new ArrayList<>();
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path directory : processes) {
        QemuProcess process = new QemuProcess(Integer.parseInt(directory.getFileName().toString()));
        if (process.isQemu() && process.commandLine().stream().anyMatch(word -> word.contains(qmp.path().getFileName().toString()))) {
          named.add(process);
        }
      }
    } catch (IOException e) {
      throw new QemuException("/proc cannot be listed", e);
    }
    if (named.size() != 1) {
      throw new QemuException("process " + peer.pid() + " holds the QMP socket " + qmp.path() + " and is no QEMU: give QEMU's own process id (--pid)");
    }
    return named.getFirst();
  }

  /** The first QMP socket of the command line: {@code -qmp unix:…}, or a control monitor on a socket chardev. */
  static Path qmpSocketOf(QemuProcess process) {
    if (!process.exists()) {
      throw new QemuException("there is no process " + process.pid());
    }
    List<String> line = process.commandLine();
    for (int i = 0; i + 1 < line.size(); i++) {
      String value = line.get(i + 1);
      String path = switch (line.get(i)) {
        case "-qmp", "-qmp-pretty", "--qmp" -> value.startsWith("unix:") ? CommandLine.first(value.substring("unix:".length())) : "";
        case "-mon", "--mon" -> value.contains("mode=control") ? chardevPath(line, CommandLine.property(value, "chardev")) : "";
        default -> "";
      };
      if (!path.isEmpty()) {
        return process.workingDirectory().resolve(path);
      }
    }
    throw new QemuException("process " + process.pid() + " has no QMP on a unix socket in its command line: start QEMU with -qmp unix:PATH,server=on,wait=off");
  }

  private static String chardevPath(List<String> line, String id) {
    for (int i = 0; i + 1 < line.size(); i++) {
      if (line.get(i).endsWith("-chardev") && CommandLine.property(line.get(i + 1), "id").equals(id)) {
        return CommandLine.property(line.get(i + 1), "path");
      }
    }
    return "";
  }
}
