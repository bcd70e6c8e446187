package dev.dyad.engine.node;

import dev.dyad.engine.net.GuestNic;
import dev.dyad.engine.net.NicSocket;
import dev.dyad.engine.net.NicSplice;
import dev.dyad.engine.net.QmpCommands;
import dev.dyad.engine.net.RedirectorPair;
import dev.dyad.engine.net.SocketSplice;
import dev.dyad.engine.vm.qemu.Netdev;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * Opens the way into the wire of each NIC of a QEMU: through a TAP of ours where the operator named one, by redirection otherwise.
 *
 * <p>Control thread.
 */
final class NicSplices {
  private NicSplices() {}

  /**
   * @param taps by netdev id, the TAP through which this process carries its frames
   * @throws IllegalArgumentException when a TAP was named for a netdev that no NIC hangs on
   */
  static void refuseUnknown(List<GuestNic> nics, Map<String, String> taps) {
    for (String netdev : taps.keySet()) {
      if (nics.stream().noneMatch(nic -> nic.netdev().equals(netdev))) {
        throw new IllegalArgumentException("--tap " + netdev + "=…: the guest has no NIC on netdev " + netdev + "; its NICs hang on " + nics.stream().map(GuestNic::netdev).toList());
      }
    }
  }

  /** Of a QEMU that runs with this command line. */
  static NicSplice open(QmpCommands qmp, GuestNic nic, int qemuPid, Path folder, Map<String, String> taps, List<String> commandLine, Path workingDirectory) {
    String tap = taps.get(nic.netdev());
    return tap == null
        ? RedirectorPair.open(qmp, nic, qemuPid, folder)
        : SocketSplice.open(nic.netdev(), socketOf(nic.netdev(), commandLine, workingDirectory), qemuPid, tap);
  }

  private static NicSocket socketOf(String id, List<String> commandLine, Path workingDirectory) {
    Netdev netdev =
        Netdev.find(commandLine, id)
            .orElseThrow(() -> new IllegalStateException("network " + id + " is not in QEMU's command line; a NIC for --tap is started with -netdev stream or dgram"));
    if (netdev.type().equals("stream") && netdev.isOn("server") && !netdev.property("addr.path").isEmpty()) {
      return new NicSocket(workingDirectory.resolve(netdev.property("addr.path")), null);
    }
    if (netdev.type().equals("dgram") && !netdev.property("local.path").isEmpty() && !netdev.property("remote.path").isEmpty()) {
      return new NicSocket(workingDirectory.resolve(netdev.property("local.path")), workingDirectory.resolve(netdev.property("remote.path")));
    }
    throw new IllegalStateException(
        "network " + id + " is -netdev " + netdev.value() + "; for --tap QEMU is started with -netdev stream,id=" + id
            + ",server=on,addr.type=unix,addr.path=PATH (or dgram with unix paths); a -netdev tap needs no --tap");
  }
}
