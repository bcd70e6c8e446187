package dev.dyad.engine.net;

import static dev.dyad.bindings.abi.linux.linux_h.FIONREAD;
import static dev.dyad.bindings.abi.linux.linux_h.POLLIN;
import static dev.dyad.bindings.abi.linux.linux_h.SOCK_NONBLOCK;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Ioctl;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Sockets;
import dev.dyad.engine.json.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Turns the output of one NIC of a <em>running</em> QEMU through this process, and lets go of it again, by two
 * {@code filter-redirector} objects and two socket character devices.
 *
 * <pre>
 *   guest NIC --tx--&gt; [F_out outdev]   [F_in indev] --&gt; netdev (tap) --&gt; world
 *                        | cout            ^ cin
 *                        v                 |
 *                     HeldOutput ... release
 * </pre>
 *
 * <p>On the {@code rx} queue (seen from the netdev) QEMU walks the filters last to first, so F_in is added first and F_out second:
 * then what we inject at F_in has F_out behind it. The other order sends every frame back to us. Input is not touched.
 *
 * <p><b>When this process dies</b> and QEMU lives on, the sockets close, and F_out drops every frame: QEMU 7.2 writes to a closed
 * character device and takes the failure as an answer, it does not fall back to passing. QEMU is the connecting side and has no
 * {@code reconnect}, so nobody can step in for us either. That is what fences an orphaned guest; a test holds it. Only removing
 * F_out, on purpose, opens the way again ({@link #removeOrphan}).
 *
 * <p><b>A guest whose frames nobody reads stands still</b>: QEMU writes them in its main loop, waiting for room with its big lock held,
 * so not even its monitor answers. The net thread must be reading before {@link #engage}, and {@code HeldOutput} must be told
 * ({@code blocksGuest}).
 *
 * <p>What QEMU's backend would not take (a TAP whose queue is full, a slow reader of a socket) waits in QEMU, which throws it away at
 * each stop of the guest, redirected or not. On a congested network released frames can thus be lost, as in any switch.
 *
 * <p>Control thread.
 */
public final class RedirectorPair implements NicSplice {
  /** The frames carry the length of their virtio-net header: {@link PacketPort#prefixBytes()}. */
  public static final int PREFIX_BYTES = 8;

  private static final int ACCEPT_MILLIS_MAX = 2000;
  private static final long DRAIN_NANOS_MAX = 2_000_000_000L;
  private static final String PREFIX = "dyad-";
  private static final Pattern OUT_OBJECT = Pattern.compile("\"" + PREFIX + "out-([^\"]+)\"");

  private final QmpCommands qmp;
  private final String netdev;
  private final String in;
  private final String out;
  private final FileDescriptor fromGuest;
  private final StreamPort guest;
  private final StreamPort outside;
  private boolean engaged;
  private boolean removed;

  private RedirectorPair(QmpCommands qmp, String netdev, FileDescriptor fromGuest, FileDescriptor toNetdev) {
    this.qmp = qmp;
    this.netdev = netdev;
    this.in = inName(netdev);
    this.out = outName(netdev);
    this.fromGuest = fromGuest;
    this.guest = new StreamPort(fromGuest, PREFIX_BYTES);
    this.outside = new StreamPort(toNetdev, PREFIX_BYTES);
  }

  private static String inName(String netdev) {
    return PREFIX + "in-" + netdev;
  }

  private static String outName(String netdev) {
    return PREFIX + "out-" + netdev;
  }

  /**
   * Connects both sockets and adds F_in; the guest's frames still go their old way.
   *
   * @param qemuPid nobody else may be at the other end; 0 when it is not known
   * @param folder for the two sockets while QEMU connects to them; QEMU's user must be able to search it. They are removed at once
   * @throws IllegalStateException with one line, everything undone, when the NIC cannot be redirected
   */
  public static RedirectorPair open(QmpCommands qmp, GuestNic nic, int qemuPid, Path folder) {
    String problem = nic.problem();
    if (problem != null) {
      throw new IllegalStateException(problem);
    }
    String netdev = nic.netdev();
    if (orphans(qmp).contains(netdev)) {
      throw new IllegalStateException(
          "NIC " + nic.name() + " is still redirected by an earlier attach whose process is gone: its guest may have been taken over");
    }
    // Left by a process that died before it engaged: harmless, and in the way.
    attempt(qmp, "object-del", inName(netdev));
    attempt(qmp, "chardev-remove", outName(netdev));
    attempt(qmp, "chardev-remove", inName(netdev));
    FileDescriptor toNetdev = connect(qmp, inName(netdev), qemuPid, folder);
    try {
      FileDescriptor fromGuest = connect(qmp, outName(netdev), qemuPid, folder);
      try {
        addFilter(qmp, inName(netdev), netdev, "indev");
        return new RedirectorPair(qmp, netdev, fromGuest, toNetdev);
      } catch (RuntimeException e) {
        fromGuest.close();
        attempt(qmp, "chardev-remove", outName(netdev));
        throw refusal(nic, e);
      }
    } catch (RuntimeException e) {
      toNetdev.close();
      attempt(qmp, "chardev-remove", inName(netdev));
      throw e;
    }
  }

  private static RuntimeException refusal(GuestNic nic, RuntimeException e) {
    String said = String.valueOf(e.getMessage());
    if (said.contains("ost is not supported")) {
      return new IllegalStateException(
          "NIC " + nic.name() + " (" + nic.mac() + ") runs with vhost=on, past QEMU, which never sees its packets; start the guest"
              + " with -netdev tap,vhost=off",
          e);
    }
    return new IllegalStateException("NIC " + nic.name() + " (" + nic.mac() + ") cannot be redirected: " + said, e);
  }

  /** Lets QEMU connect to a socket of ours that has a name only meanwhile. */
  private static FileDescriptor connect(QmpCommands qmp, String id, int qemuPid, Path folder) {
    Path path = folder.resolve(id);
    try {
      Files.deleteIfExists(path);
      try (FileDescriptor listening = Sockets.listen(SocketAddress.unix(path.toString()), 1)) {
        // QEMU may run as another user (libvirt's does); whoever can reach the folder and is not QEMU is told by its pid.
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-rw-rw-"));
        String address = "{\"type\":\"unix\",\"data\":{\"path\":" + Json.write(path.toString()) + "}}";
        qmp.execute(
            "chardev-add",
            "{\"id\":"
                + Json.write(id)
                + ",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":"
                + address
                + ",\"server\":false}}}");
        int ready = Poll.once(listening.fd(), POLLIN(), ACCEPT_MILLIS_MAX);
        int accepted = ready > 0 ? Sockets.accept(listening.fd(), SOCK_NONBLOCK()) : -1;
        if (accepted < 0) {
          attempt(qmp, "chardev-remove", id);
          throw new IllegalStateException("QEMU did not connect to " + path + " within " + ACCEPT_MILLIS_MAX + " ms");
        }
        FileDescriptor socket = FileDescriptor.adopt(accepted);
        int peer = Sockets.peerCredentials(accepted).pid();
        if (qemuPid != 0 && peer != qemuPid) {
          socket.close();
          attempt(qmp, "chardev-remove", id);
          throw new IllegalStateException("process " + peer + " connected to " + path + " in place of QEMU (process " + qemuPid + ")");
        }
        return socket;
      } finally {
        Files.deleteIfExists(path);
      }
    } catch (IOException e) {
      throw new IllegalStateException("socket " + path + " cannot be made: " + e.getMessage(), e);
    }
  }

  private static void addFilter(QmpCommands qmp, String id, String netdev, String direction) {
    qmp.execute(
        "object-add",
        "{\"qom-type\":\"filter-redirector\",\"id\":"
            + Json.write(id)
            + ",\"netdev\":"
            + Json.write(netdev)
            + ",\"queue\":\"rx\",\"vnet_hdr_support\":true,\""
            + direction
            + "\":"
            + Json.write(id)
            + "}");
  }

  @Override
  public PacketPort guest() {
    return guest;
  }

  /** They leave by the guest's own netdev. */
  @Override
  public PacketPort outside() {
    return outside;
  }

  /** None: the netdev still gives what it receives to the guest itself. */
  @Override
  public @Nullable InputRelay input() {
    return null;
  }

  @Override
  public boolean blocksGuest() {
    return true;
  }

  public String netdev() {
    return netdev;
  }

  /** Adds F_out. */
  @Override
  public void engage() {
    addFilter(qmp, out, netdev, "outdev");
    engaged = true;
  }

  /**
   * Gives the NIC back: nothing is lost, doubled or reordered (by a backend that takes what it is given). The guest is stopped for the few milliseconds in which the last
   * frames leave; they stand in QEMU's queue before whatever it sends afterwards.
   *
   * @param output passing ({@link HeldOutput#pass}), its net thread running
   * @throws IllegalStateException when the last frames do not leave within two seconds; nothing is changed then
   */
  @Override
  public void disengage(HeldOutput output) {
    if (!engaged) {
      return;
    }
    boolean running = qmp.execute("query-status", "{}").replace(" ", "").contains("\"running\":true");
    if (running) {
      qmp.execute("stop", "{}");
    }
    try {
      awaitDrained(output);
      qmp.execute("object-del", id(out));
      engaged = false;
      removeRest();
    } finally {
      if (running) {
        qmp.execute("cont", "{}");
      }
    }
  }

  private void awaitDrained(HeldOutput output) {
    long start = System.nanoTime();
    try (Mapping word = Mapping.anonymous(Mapping.PAGE_BYTES)) {
      // In this order: what is not in the socket any more is in the ring, what is not there any more is in the other socket.
      while (unread(word) > 0 || !output.isEmpty() || outside.unreadByPeer() > 0) {
        if (System.nanoTime() - start > DRAIN_NANOS_MAX) {
          throw new IllegalStateException(
              "netdev " + netdev + ": " + output.heldBytes() + " bytes of the guest's output did not leave within two seconds");
        }
        LockSupport.parkNanos(100_000);
      }
    }
    // QEMU has read the last frame; an answer to one more command says that it has also handled what it read.
    qmp.execute("query-status", "{}");
  }

  private int unread(Mapping word) {
    NativeException.check(Ioctl.call(fromGuest.fd(), FIONREAD(), word.hostVirt()), "ioctl FIONREAD", "fd=" + fromGuest.fd());
    return Memory.getInt(word.hostVirt());
  }

  private void removeRest() {
    qmp.execute("object-del", id(in));
    qmp.execute("chardev-remove", id(out));
    qmp.execute("chardev-remove", id(in));
    removed = true;
  }

  /**
   * Closes our ends. After {@link #disengage} nothing remains in QEMU. Without it F_out stays and drops: the guest is cut off, as it
   * is when this process dies.
   */
  @Override
  public void close() {
    if (!engaged && !removed) {
      attempt(qmp, "object-del", in);
      attempt(qmp, "chardev-remove", out);
      attempt(qmp, "chardev-remove", in);
      removed = true;
    }
    guest.close();
    outside.close();
  }

  /** The netdevs that an earlier process has redirected and not given back: their guest's output is cut off. */
  public static List<String> orphans(QmpCommands qmp) {
    String objects = qmp.execute("qom-list", "{\"path\":\"/objects\"}");
    List<String> found = new ArrayList<>();
    Matcher matcher = OUT_OBJECT.matcher(objects);
    while (matcher.find()) {
      found.add(matcher.group(1));
    }
    return found;
  }

  /**
   * Opens the way again for an orphan that was <em>not</em> taken over; the caller has won a generation for it. What the guest sent
   * meanwhile is gone, and its peers repeat it.
   */
  public static void removeOrphan(QmpCommands qmp, String netdev) {
    qmp.execute("object-del", id(outName(netdev)));
    attempt(qmp, "object-del", inName(netdev));
    attempt(qmp, "chardev-remove", outName(netdev));
    attempt(qmp, "chardev-remove", inName(netdev));
  }

  private static String id(String id) {
    return "{\"id\":" + Json.write(id) + "}";
  }

  /** For what may or may not be there. */
  private static void attempt(QmpCommands qmp, String command, String id) {
    try {
      qmp.execute(command, id(id));
    } catch (RuntimeException absent) {
      // It was not there, or QEMU is gone: either way nothing is left of it.
    }
  }
}
