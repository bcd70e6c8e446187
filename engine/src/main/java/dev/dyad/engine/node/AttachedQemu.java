package dev.dyad.engine.node;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import dev.dyad.engine.net.GuestNic;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.NetThread;
import dev.dyad.engine.net.NicSplice;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.QmpCommands;
import dev.dyad.engine.net.RedirectorPair;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.vm.qemu.QemuAttach;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A running QEMU with everything that makes it a primary: the attachment, its NICs, the net thread, the arbiter, the node.
 *
 * <p>Control thread. Closing detaches in good order: protection ends, the NICs are given back, the guest runs on.
 */
public final class AttachedQemu implements AutoCloseable {
  /** Tells the standby which hypervisor's description it gets. */
  public static final int MACHINE_KIND = 1;

  private static final long HELD_BYTES = 16L << 20;
  private static final Duration DETACH_BOUND = Duration.ofSeconds(10);

  /**
   * What the operator says.
   *
   * @param name of the guest, or empty: {@code qemu-PID}
   * @param arbiter where it is; null: a file in the runtime directory
   * @param taps by netdev id, the TAP through which this process carries the frames of a NIC that hangs on a socket
   * @param disk of the guest, or null: none is protected
   */
  public record Options(
      String name,
      SocketAddress standby,
      @Nullable SharedKey key,
      EpochConfig epochs,
      @Nullable ArbiterPlace arbiter,
      boolean busyPoll,
      int core,
      Map<String, String> taps,
      LinkConfig link,
      @Nullable DiskOptions disk) {
    public Options {
      taps = Map.copyOf(taps);
    }

    /** Over what the two hosts have. */
    public Options(
        String name, SocketAddress standby, @Nullable SharedKey key, EpochConfig epochs, @Nullable ArbiterPlace arbiter, boolean busyPoll, int core, Map<String, String> taps) {
      this(name, standby, key, epochs, arbiter, busyPoll, core, taps, LinkConfig.standard(), null);
    }
  }

  private final QemuAttach qemu;
  private final @Nullable PrimaryDisk disk;
  private final Arbiter arbiter;
  private final List<LearnedAddresses> learned = new ArrayList<>();
  private final EventFd netBell = new EventFd();
  private final List<NicSplice> splices = new ArrayList<>();
  private final List<HeldOutput> nics = new ArrayList<>();
  private final PrimaryNode node;
  private final NetThread net;
  private final Thread netThread;
  private final AllocationMeter netAllocation;

  private AttachedQemu(
      QemuAttach qemu, @Nullable PrimaryDisk disk, Options options, Arbiter arbiter, String name, ArbiterPlace place, long generation, long firstEpoch, boolean promoted) {
    this.qemu = qemu;
    this.disk = disk;
    this.arbiter = arbiter;
    OutputEpoch epoch = new OutputEpoch(firstEpoch);
    ReleaseGate gate = new ReleaseGate(arbiter::newest, generation);
    try {
      QmpCommands qmp = commands(qemu);
      List<GuestNic> guestNics = GuestNic.of(qmp);
      NicSplices.refuseUnknown(guestNics, options.taps());
      List<NetThread.Nic> served = new ArrayList<>();
      for (GuestNic nic : guestNics) {
        NicSplice splice =
            NicSplices.open(qmp, nic, qemu.pid(), RuntimeDirectory.path(), options.taps(), qemu.description().commandLine(), qemu.description().workingDirectory());
        splices.add(splice);
        LearnedAddresses addresses = new LearnedAddresses();
        learned.add(addresses);
        HeldOutput output = new HeldOutput(splice.guest(), splice.outside(), gate, epoch, addresses, netBell, HELD_BYTES, splice.blocksGuest());
        nics.add(output);
        served.add(new NetThread.Nic(output, splice.input()));
      }
      PrimaryConfig config =
          new PrimaryConfig(
              name,
              qemu.identity(),
              options.standby(),
              options.key(),
              options.epochs(),
              PrimaryConfig.RING_BYTES,
              PrimaryConfig.SNAPSHOT_PAGES,
              PrimaryConfig.DELTA_CACHE_BYTES,
              options.busyPoll(),
              options.core(),
              options.link(),
              0);
      byte[] description = qemu.description().toJson().getBytes(StandardCharsets.UTF_8);
      MachineEnvelope envelope = new MachineEnvelope(name, place.text(), options.epochs().detectorNanos(), description);
      GuestOutput output = new GuestOutput(epoch, gate, nics);
      node = new PrimaryNode(config, qemu, output, new NodePage(nics, learned), disk, arbiter, MACHINE_KIND, envelope);
      net = new NetThread(served, netBell, node::doorbell, false);
      netThread = Thread.ofPlatform().name("net").daemon().start(net);
      netAllocation = new AllocationMeter(netThread.threadId());
      output.pass();
      gate.goAlone(generation);
      splices.forEach(NicSplice::engage);
      if (promoted) {
        node.startPromoted(generation, firstEpoch);
      } else {
        node.start(generation);
      }
    } catch (RuntimeException e) {
      splices.forEach(NicSplice::close);
      throw e;
    }
  }

  /**
   * Attaches to the QEMU behind a QMP socket, or to a process.
   *
   * @throws NotStartedException with one line that says what forbids it; nothing is changed then
   */
  public static AttachedQemu attach(@Nullable Path qmp, int pid, Options options) {
    try {
      return attachTo(qmp, pid, options);
    } catch (RuntimeException e) {
      throw NotStartedException.of(e);
    }
  }

  private static AttachedQemu attachTo(@Nullable Path qmp, int pid, Options options) {
    QemuAttach qemu = qmp != null ? QemuAttach.attach(qmp) : QemuAttach.attach(pid);
    try {
      String name = options.name().isEmpty() ? "qemu-" + qemu.pid() : options.name();
      ArbiterPlace place = PrimaryNode.place(options.arbiter(), options.name(), name);
      Arbiter arbiter = place.open(name);
      try {
        long generation = PrimaryNode.generationFor(arbiter, qemu.identity(), place.what(name));
        RedirectorPair.orphans(commands(qemu)).forEach(netdev -> RedirectorPair.removeOrphan(commands(qemu), netdev));
        DiskOptions named = options.disk();
        PrimaryDisk disk = named == null ? null : ServedDisk.serve(qemu, named, name);
        try {
          return new AttachedQemu(qemu, disk, options, arbiter, name, place, generation, 1, false);
        } catch (RuntimeException e) {
          if (disk != null) {
            ServedDisk.giveBack(disk, ServedDisk.of(qemu, disk));
          }
          throw e;
        }
      } catch (RuntimeException e) {
        arbiter.close();
        throw e;
      }
    } catch (RuntimeException e) {
      qemu.close();
      throw e;
    }
  }

  private static QmpCommands commands(QemuAttach qemu) {
    return (command, arguments) -> qemu.qmp().execute(command, arguments).toString();
  }

  public PrimaryNode node() {
    return node;
  }

  public int pid() {
    return qemu.pid();
  }

  public Map<String, Object> report() {
    Map<String, Object> report = node.report();
    report.put("netAllocatedBytes", netAllocation.bytes());
    return report;
  }

  /** Does what another command on this host asks for; the answer is empty when it is done. */
  public String command(String line) {
    return node.command(line);
  }

  /** Whether this side has lost the guest to the other one. */
  public boolean isFenced() {
    return node.state() == PrimaryState.FENCED;
  }

  @Override
  public void close() {
    boolean ended = node.detach(DETACH_BOUND);
    if (ended && node.state() == PrimaryState.STOPPED) {
      for (int i = 0; i < splices.size(); i++) {
        splices.get(i).disengage(nics.get(i));
      }
    }
    net.stop();
    try {
      netThread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    net.close();
    splices.forEach(NicSplice::close);
    nics.forEach(HeldOutput::close);
    node.close();
    if (disk != null) {
      if (ended && node.state() == PrimaryState.STOPPED) {
        ServedDisk.giveBack(disk, ServedDisk.of(qemu, disk));
      } else {
        disk.close();
      }
    }
    qemu.close();
    arbiter.close();
    learned.forEach(LearnedAddresses::close);
    netBell.close();
  }
}
