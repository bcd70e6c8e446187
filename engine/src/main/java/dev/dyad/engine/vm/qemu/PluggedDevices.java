package dev.dyad.engine.vm.qemu;

import dev.dyad.engine.json.Json;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Compares the devices that a running QEMU has with those of its command line, from which the standby builds its own: what was plugged in or
 * out in between would be missed only when the standby is to take over.
 */
final class PluggedDevices {
  private static final String CHILD = "child<";

  /** Options that make devices without a name of their own accord, or keep them in a file. */
  private static final List<String> OTHER_SOURCES = List.of("drive", "virtfs", "readconfig", "watchdog", "nic", "net");

  private PluggedDevices() {}

  /**
   * @throws QemuException in one line when the two differ
   */
  static void refuse(QmpChannel qmp, List<String> commandLine) {
    List<String> named = new ArrayList<>();
    int unnamed = 0;
    boolean others = false;
    for (int i = 1; i < commandLine.size(); i++) {
      String word = commandLine.get(i);
      String option = word.startsWith("--") ? word.substring(2) : word.startsWith("-") ? word.substring(1) : "";
      if (option.equals("device") && i + 1 < commandLine.size()) {
        i++;
        String value = commandLine.get(i);
        String id = value.startsWith("{") ? Json.parse(value).get("id").text() : CommandLine.property(value, "id");
        if (id.isEmpty()) {
          unnamed++;
        } else {
          named.add(id);
        }
      }
      others |= OTHER_SOURCES.contains(option);
    }
    Map<String, String> present = children(qmp, "/machine/peripheral");
    List<String> anonymous = List.copyOf(children(qmp, "/machine/peripheral-anon").values());
    present.forEach((id, type) -> {
      if (!named.contains(id) && !commandLine.contains("-readconfig")) {
        throw pluggedIn(id + " (" + type + ")");
      }
    });
    for (String id : named) {
      if (!present.containsKey(id)) {
        throw new QemuException("device " + id + " of QEMU's command line was unplugged while it ran, and the standby would have it: plug it in again, or restart QEMU without it");
      }
    }
    if (anonymous.size() > unnamed && !others) {
      throw pluggedIn("of type " + anonymous.getLast());
    }
  }

  private static QemuException pluggedIn(String device) {
    return new QemuException("device " + device + " was plugged in while QEMU ran, and the standby, built from QEMU's command line, would lack it: unplug it (device_del), or restart QEMU with it");
  }

  /** Type by name. */
  private static Map<String, String> children(QmpChannel qmp, String path) {
    Map<String, String> children = new LinkedHashMap<>();
    for (Json property : qmp.execute("qom-list", "{\"path\":\"" + path + "\"}").elements()) {
      String type = property.get("type").text();
      if (type.startsWith(CHILD)) {
        children.put(property.get("name").text(), type.substring(CHILD.length(), type.length() - 1));
      }
    }
    return children;
  }
}
