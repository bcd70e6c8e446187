package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.json.Json;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;

/**
 * One {@code -netdev} of a command line, in either of the forms that QEMU takes: {@code stream,id=n,addr.path=…} or JSON.
 *
 * @param id its name
 * @param type tap, stream, dgram, user, …
 */
public record Netdev(String id, String type, String value) {
  /** Types that carry plain frames only. */
  private static final Set<String> PLAIN = Set.of("stream", "dgram", "socket", "user", "vde", "l2tpv3", "hubport");

  static Netdev parse(String value) {
    if (!value.startsWith("{")) {
      return new Netdev(CommandLine.property(value, "id"), CommandLine.first(value), value);
    }
    Json json = Json.parse(value);
    return new Netdev(json.get("id").text(), json.get("type").text(), value);
  }

  /** The one of that id in a whole command line; none when it was added later or differently. */
  public static Optional<Netdev> find(List<String> commandLine, String id) {
    for (int i = 0; i + 1 < commandLine.size(); i++) {
      if (commandLine.get(i).equals("-netdev") || commandLine.get(i).equals("--netdev")) {
        Netdev netdev = parse(commandLine.get(i + 1));
        if (netdev.id.equals(id)) {
          return Optional.of(netdev);
        }
      }
    }
    return Optional.empty();
  }

  /** A property by its dotted name, such as {@code addr.path}; empty when it is not there. */
  public String property(String name) {
    if (!value.startsWith("{")) {
      return CommandLine.property(value, name);
    }
    Json at = Json.parse(value);
    for (String part : name.split("\\.")) {
      at = at.get(part);
    }
    return at.isAbsent() ? "" : at.isTrue() ? "on" : at.text();
  }

  /** Whether a switch is on, in any of the spellings that QEMU takes. */
  public boolean isOn(String name) {
    return List.of("on", "yes", "true", "y").contains(property(name).toLowerCase(Locale.ROOT));
  }

  /** Whether the guest may leave it to this back end to cut frames up and to sum them: TAPs can, unless told otherwise. */
  boolean offloads() {
    return !PLAIN.contains(type) && (property("vnet_hdr").isEmpty() || isOn("vnet_hdr"));
  }
}
