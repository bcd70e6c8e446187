package dev.dyad.engine.cli.doctor;

import dev.dyad.engine.observe.RuntimeDirectory;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** This JVM, its processors, and the folder where nodes find each other. */
final class JavaChecks {
  private static final String AREA = "java";
  private static final int FEATURE = 25;
  private static final int CORES = 3;

  private JavaChecks() {}

  static List<Finding> all() {
    return List.of(
        version(Runtime.version().feature(), System.getProperty("java.vm.name") + " " + Runtime.version()),
        nativeAccess(ManagementFactory.getRuntimeMXBean().getInputArguments()),
        cores(Runtime.getRuntime().availableProcessors()),
        runtimeDirectory());
  }

  static Finding version(int feature, String found) {
    return feature == FEATURE
        ? Finding.ok(AREA, "JDK", found, "JDK " + FEATURE)
        : Finding.missing(AREA, "JDK", found, "JDK " + FEATURE, "bindings were made for and tested with JDK " + FEATURE, "install one: https://adoptium.net/temurin/releases/?version=25");
  }

  static Finding nativeAccess(List<String> arguments) {
    boolean granted = arguments.stream().anyMatch(argument -> argument.startsWith("--enable-native-access"));
    return granted
        ? Finding.ok(AREA, "native access", "granted", "--enable-native-access=ALL-UNNAMED")
        : Finding.limited(AREA, "native access", "not granted", "--enable-native-access=ALL-UNNAMED", "this JVM warns, and a later one will refuse", "start dyad by its launcher, ./dyad");
  }

  static Finding cores(int count) {
    return count >= CORES
        ? Finding.ok(AREA, "processors", count + " for this process", CORES + " for a guest of one vCPU")
        : Finding.limited(
            AREA, "processors", count + " for this process", CORES + " for a guest of one vCPU: its own, the epoch thread's, the net thread's", "threads share cores: pauses and replies take longer, nothing else", "give this host or container more processors");
  }

  private static Finding runtimeDirectory() {
    String needed = "a folder that only this user can write to";
    try {
      Path path = RuntimeDirectory.path();
      if (Files.isWritable(path)) {
        return Finding.ok(AREA, "runtime directory", path.toString(), needed);
      }
      return noDirectory(path + " cannot be written to", needed);
    } catch (UncheckedIOException e) {
      return noDirectory(String.valueOf(e.getMessage()), needed);
    }
  }

  private static Finding noDirectory(String found, String needed) {
    return Finding.missing(AREA, "runtime directory", found, needed, "nodes cannot be started, and dyad status and top see none", "export DYAD_RUNTIME_DIR=/a/folder/of/your/own");
  }
}
