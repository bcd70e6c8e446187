package dev.dyad.bindings.verbs;

import dev.dyad.bindings.linux.Memory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * An RDMA device of this host. ibv_get_device_list(3).
 *
 * @param guid in network order, 0 when the driver gives none
 * @param numaNode that it is attached to, −1 when there is none
 */
public record RdmaDevice(String name, long guid, int numaNode) {

  private static final int NAME_BYTES = 256;

  /** All devices, in the library's order; empty when there are none or verbs are {@link Verbs#unavailable}. */
  public static List<RdmaDevice> list() {
    List<RdmaDevice> devices = new ArrayList<>();
    if (Verbs.unavailable().isEmpty()) {
      visit((name, pointer) -> devices.add(
          new RdmaDevice(name, Long.reverseBytes(Verbs.call("ibv_get_device_guid", pointer).value()), numaNode(name))));
    }
    return devices;
  }

  interface Visitor {
    void device(String name, long pointer);
  }

  /** Shows each device while the list is held. */
  static void visit(Visitor visitor) {
    Verbs.Result list = Verbs.call("ibv_get_device_list", 0);
    if (list.value() == 0) {
      return; // ENOSYS: no kernel support, which is the same as no device
    }
    try {
      for (long at = list.value(); Memory.getLong(at) != 0; at += Long.BYTES) {
        long pointer = Memory.getLong(at);
        visitor.device(Memory.getString(Verbs.call("ibv_get_device_name", pointer).value(), NAME_BYTES), pointer);
      }
    } finally {
      Verbs.call("ibv_free_device_list", list.value());
    }
  }

  private static int numaNode(String name) {
    try {
      return Integer.parseInt(Files.readString(Path.of("/sys/class/infiniband", name, "device/numa_node")).strip());
    } catch (IOException | NumberFormatException e) {
      return -1; // a software device sits on no bus
    }
  }
}
