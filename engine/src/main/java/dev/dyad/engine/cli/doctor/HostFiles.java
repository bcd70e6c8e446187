package dev.dyad.engine.cli.doctor;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The text files in which the kernel says what it is and how it is set; below another root for tests. Never throws: what is not there is empty. */
record HostFiles(Path root) {

  /** Stripped; empty when it does not exist or may not be read. */
  String text(String path) {
    try {
      return Files.readString(root.resolve(path.substring(1))).strip();
    } catch (IOException e) {
      return "";
    }
  }

  long number(String path, long otherwise) {
    try {
      return Long.parseLong(text(path));
    } catch (NumberFormatException e) {
      return otherwise;
    }
  }

  boolean exists(String path) {
    return Files.exists(root.resolve(path.substring(1)));
  }

  List<String> names(String path) {
    List<String> names = new ArrayList<>();
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(root.resolve(path.substring(1)))) {
      entries.forEach(entry -> names.add(entry.getFileName().toString()));
    } catch (IOException e) {
      return List.of();
    }
    Collections.sort(names);
    return names;
  }

  /** The words after {@code key:} in a file of such lines; empty when there is none. */
  String field(String path, String key) {
    return text(path).lines().filter(line -> line.startsWith(key) && line.substring(key.length()).strip().startsWith(":")).map(line -> line.substring(line.indexOf(':') + 1).strip()).findFirst().orElse("");
  }

  /** Whether this process has {@code CAP_*}; capabilities(7). */
  boolean hasCapability(int capability) {
    String set = field("/proc/self/status", "CapEff");
    return !set.isEmpty() && (Long.parseUnsignedLong(set, 16) >>> capability & 1) != 0;
  }
}
