package dev.dyad.engine.vm.qemu;

import java.util.ArrayList;
import java.util.List;

/** The syntax of QEMU's option values: {@code first,name=value,…}, where a doubled comma stands for one. */
final class CommandLine {
  private CommandLine() {}

  static List<String> parts(String value) {
    List<String> parts = new ArrayList<>();
    StringBuilder part = new StringBuilder();
    for (int i = 0; i < value.length(); i++) {
      if (value.charAt(i) != ',') {
        part.append(value.charAt(i));
      } else if (i + 1 < value.length() && value.charAt(i + 1) == ',') {
        part.append(',');
        i++;
      } else {
        parts.add(part.toString());
        part.setLength(0);
      }
    }
    parts.add(part.toString());
    return parts;
  }

  static String join(List<String> parts) {
    return String.join(",", parts.stream().map(part -> part.replace(",", ",,")).toList());
  }

  static String first(String value) {
    return parts(value).getFirst();
  }

  /** The property's value, or empty. */
  static String property(String value, String name) {
    for (String part : parts(value)) {
      if (part.startsWith(name + "=")) {
        return part.substring(name.length() + 1);
      }
    }
    return "";
  }

  /** The value with these properties taken out, and then {@code added} at its end. */
  static String with(String value, List<String> removed, String... added) {
    List<String> parts = new ArrayList<>(parts(value));
    parts.removeIf(part -> removed.contains(part.contains("=") ? part.substring(0, part.indexOf('=')) : part));
    parts.addAll(List.of(added));
    return join(parts);
  }
}
