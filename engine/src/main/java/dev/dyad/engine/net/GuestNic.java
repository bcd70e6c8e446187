package dev.dyad.engine.net;

import dev.dyad.engine.json.Json;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A NIC of a running QEMU and what it hangs on, as {@code info network} shows it.
 *
 * @param name the device
 * @param mac as QEMU prints it
 * @param netdev id of its backend; empty when it has none
 * @param backend the backend's type: tap, stream, dgram, user, …; empty when it has none
 * @param queues queue pairs
 */
public record GuestNic(String name, String mac, String netdev, String backend, int queues) {

  /** The NICs of a guest, in QEMU's order. */
  public static List<GuestNic> of(QmpCommands qmp) {
    return parse(Json.parse(qmp.execute("human-monitor-command", "{\"command-line\":\"info network\"}")).text());
  }

  /**
   * <pre>
   * net0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
   *  \ n0: index=0,type=tap,ifname=tap0,script=no,downscript=no
   * u0: index=0,type=user,net=10.0.2.0,restrict=off          (a backend without a NIC)
   * filters:                                                   (of the backend above)
   *   - f0: type=filter-redirector,...
   * </pre>
   */
  static List<GuestNic> parse(String text) {
    List<GuestNic> nics = new ArrayList<>();
    for (String raw : text.split("\\R")) {
      boolean peer = raw.startsWith(" \\ ");
      String line = peer ? raw.substring(3) : raw;
      int colon = line.indexOf(": ");
      if (colon <= 0 || (!peer && Character.isWhitespace(line.charAt(0)))) {
        continue;
      }
      String name = line.substring(0, colon);
      String fields = line.substring(colon + 2);
      String type = field(fields, "type");
      if (!peer && type.equals("nic")) {
        String mac = field(fields, "macaddr");
        int same = indexOf(nics, name);
        if (same >= 0) {
          GuestNic known = nics.get(same);
          nics.set(same, new GuestNic(name, known.mac, known.netdev, known.backend, known.queues + 1));
        } else {
          nics.add(new GuestNic(name, mac, "", "", 1));
        }
      } else if (peer && !nics.isEmpty() && nics.getLast().netdev.isEmpty()) {
        GuestNic nic = nics.getLast();
        nics.set(nics.size() - 1, new GuestNic(nic.name, nic.mac, name, type, nic.queues));
      }
    }
    return nics;
  }

  private static int indexOf(List<GuestNic> nics, String name) {
    for (int i = 0; i < nics.size(); i++) {
      if (nics.get(i).name.equals(name)) {
        return i;
      }
    }
    return -1;
  }

  private static String field(String fields, String key) {
    for (String field : fields.split(",")) {
      if (field.startsWith(key + "=")) {
        return field.substring(key.length() + 1);
      }
    }
    return "";
  }

  /** Why its output cannot be held, as one line; null when nothing is known to stand against it. */
  public @Nullable String problem() {
    String nic = "NIC " + name + " (" + mac + ") ";
    if (netdev.isEmpty()) {
      return nic + "has no backend; give it a -netdev tap, stream or dgram";
    }
    if (queues > 1) {
      return nic + "has " + queues + " queues, of which QEMU can redirect one only; start the guest with queues=1";
    }
    return switch (backend) {
      case "tap", "stream", "dgram", "socket", "vde", "l2tpv3", "bridge", "af-xdp" -> null;
      case "user" ->
          nic
              + "uses QEMU's user-mode network (netdev "
              + netdev
              + "), whose connections live inside that QEMU process and die with it; start the guest with -netdev tap"
              + " (without root: 'dyad nic plan --userns')";
      case "vhost-user", "vhost-vdpa" ->
          nic + "is served by " + backend + ", past QEMU, which never sees its packets; start the guest with -netdev tap,vhost=off";
      default -> nic + "has a backend of type " + backend + ", which was never tried; start the guest with -netdev tap";
    };
  }
}
