package dev.dyad.engine.node;

import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.net.GuestNic;
import dev.dyad.engine.net.NicSocket;
import dev.dyad.engine.net.PacketPort;
import dev.dyad.engine.net.QmpCommands;
import dev.dyad.engine.net.RedirectorPair;
import dev.dyad.engine.net.SocketSplice;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import dev.dyad.engine.vm.qemu.AttachmentMark;
import dev.dyad.engine.vm.qemu.MachineDescription;
import dev.dyad.engine.vm.qemu.QemuDisk;
import dev.dyad.engine.vm.qemu.ReceivingQemu;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What a standby for QEMU guests brings along: builds the QEMU that waits, with a way to announce its addresses through its own network
 * back ends, and opens the arbiter's file.
 *
 * <p>Control thread.
 */
public final class QemuStandbyHost implements StandbyNode.Host {
  /**
   * What the operator decides for this side.
   *
   * @param netdevs by netdev id, the value of {@code -netdev} here
   * @param taps by netdev id, the TAP through which this process carries the frames of a NIC that hangs on a socket
   * @param moreArguments appended to the command line
   * @param commandLine replaces the adapted command line, unless empty
   * @param arbiter where it is, or null: the one that the primary names
   */
  public record Options(
      Map<String, String> netdevs, Map<String, String> taps, List<String> moreArguments, List<String> commandLine, @Nullable ArbiterPlace arbiter) {

    /** The back ends that QEMU gets here: those that were named, and a socket of ours for each TAP. */
    private Map<String, String> backends(Path directory) {
      Map<String, String> backends = new HashMap<>(netdevs);
      taps.keySet().forEach(netdev -> backends.put(netdev, "stream,server=on,addr.type=unix,addr.path=" + socket(directory, netdev).toString().replace(",", ",,")));
      return backends;
    }
  }

  private static Path socket(Path directory, String netdev) {
    return directory.resolve(netdev + ".net");
  }

  /** Where QEMU's name of the guest's disk leads on this host; empty when no disk is protected. */
  private final Map<String, Path> disks;

  /** A QEMU that waits, and what belongs to it. */
  private static final class Waiting implements StandbyMachine {
    private final ReceivingQemu qemu;
    private final Path directory;
    private final List<GuestNic> nics;
    private final Map<String, RedirectorPair> pairs = new HashMap<>();
    private final @Nullable GuestCarrier carrier;

    Waiting(ReceivingQemu qemu, Path directory, Map<String, String> taps, Supplier<Arbiter> arbiter) {
      this.qemu = qemu;
      this.directory = directory;
      QmpCommands qmp = (command, arguments) -> qemu.control().execute(command, arguments).toString();
      nics = GuestNic.of(qmp);
      NicSplices.refuseUnknown(nics, taps);
      try {
        for (GuestNic nic : nics) {
          if (!taps.containsKey(nic.netdev())) {
            pairs.put(nic.netdev(), RedirectorPair.open(qmp, nic, qemu.pid(), directory));
          }
        }
        carrier = taps.isEmpty() ? null : new GuestCarrier(List.copyOf(taps.keySet()), netdev -> splice(netdev, taps), arbiter.get());
      } catch (RuntimeException e) {
        pairs.values().forEach(RedirectorPair::close);
        throw e;
      }
    }

    private SocketSplice splice(String netdev, Map<String, String> taps) {
      return SocketSplice.open(netdev, new NicSocket(socket(directory, netdev), null), qemu.pid(), taps.getOrDefault(netdev, ""));
    }

    private @Nullable PacketPort outside(int nic) {
      String netdev = nics.get(nic).netdev();
      RedirectorPair pair = pairs.get(netdev);
      return pair != null ? pair.outside() : carrier != null ? carrier.outside(netdev) : null;
    }

    private void letGo() {
      pairs.values().forEach(RedirectorPair::close);
      if (carrier != null) {
        carrier.close();
      }
    }

    @Override
    public GuestMemory memory() {
      return qemu.memory();
    }

    @Override
    public long hostVirt(int block) {
      return qemu.hostVirt(block);
    }

    @Override
    public void promote(long state, int bytes) {
      qemu.promote(state, bytes);
      if (carrier != null) {
        carrier.start();
      }
    }

    @Override
    public void close() {
      qemu.close();
      letGo();
      deleteTree(directory);
    }
  }

  private final Options options;
  private int built;

  public QemuStandbyHost(Options options) {
    this(options, null);
  }

  /**
   * @param disk of the guests that it waits for, or null
   */
  public QemuStandbyHost(Options options, @Nullable ReceivingDisk disk) {
    this.options = options;
    disks = disk == null ? Map.of() : Map.of(disk.node(), disk.socket());
  }

  @Override
  public StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory) {
    if (kind != AttachedQemu.MACHINE_KIND) {
      throw new IllegalArgumentException("the primary runs a machine of kind " + kind + "; this standby builds QEMU machines, kind " + AttachedQemu.MACHINE_KIND);
    }
    MachineDescription source = MachineDescription.fromJson(new String(envelope.description(), StandardCharsets.UTF_8));
    Path directory = RuntimeDirectory.path().resolve("standby-" + ProcessHandle.current().pid() + "-" + built++);
    try {
      Files.createDirectories(directory);
    } catch (IOException e) {
      throw new UncheckedIOException("directory " + directory + " for the waiting QEMU cannot be made: " + e.getMessage(), e);
    }
    try {
      ReceivingQemu qemu = ReceivingQemu.start(source, new ReceivingQemu.Options(directory, options.backends(directory), disks, options.moreArguments(), options.commandLine()));
      try {
        return new Waiting(qemu, directory, options.taps(), () -> arbiter(envelope));
      } catch (RuntimeException e) {
        qemu.close();
        throw e;
      }
    } catch (RuntimeException e) {
      deleteTree(directory);
      throw e;
    }
  }

  @Override
  public Arbiter arbiter(MachineEnvelope envelope) {
    ArbiterPlace place = options.arbiter();
    return (place != null ? place : new ArbiterPlace(envelope.arbiter())).open(envelope.name());
  }

  @Override
  public String identity(StandbyMachine machine) {
    return ((Waiting) machine).qemu.identity();
  }

  /** Tells the network where the guest is now. */
  public static void announce(StandbyNode.Promoted promoted) {
    Waiting machine = (Waiting) promoted.machine();
    for (int i = 0; i < Math.min(machine.nics.size(), NodePage.nicCount(promoted.nodePage())); i++) {
      PacketPort outside = machine.outside(i);
      if (outside != null) {
        NodePage.announce(promoted.nodePage(), i, outside);
      }
    }
  }

  /** To be called now and then while a guest that went on here lives. */
  public static void tend(StandbyMachine promoted) {
    Waiting machine = (Waiting) promoted;
    if (machine.carrier != null) {
      machine.carrier.tend(AttachmentMark.isHeldByAnother(machine.qemu.pid()));
    }
  }

  /** A disk of the guest that went on here. */
  static QemuDisk disk(StandbyMachine promoted, String node) {
    return new QemuDisk(((Waiting) promoted).qemu.control(), node);
  }

  /** QMP socket of the guest that went on here, for its users and for protecting it again. */
  public static Path qmp(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.qmp();
  }

  public static int pid(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.pid();
  }

  public static boolean alive(StandbyMachine promoted) {
    return ((Waiting) promoted).qemu.alive();
  }

  /** Lets go of a guest that went on here: it lives on without us, and without a network where that was ours to carry. */
  public static void release(StandbyMachine promoted) {
    ((Waiting) promoted).letGo();
  }

  private static void deleteTree(Path directory) {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
