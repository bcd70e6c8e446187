package dev.dyad.engine.node;

import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.NativeException;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Tap;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.disk.BlockDevice;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import dev.dyad.engine.net.Announcer;
import dev.dyad.engine.net.FilePort;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.InputRelay;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.NetThread;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.PacketPort;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.net.TapPort;
import dev.dyad.engine.net.UdpGateway;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.vm.kvm.KvmPrimary;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.PowerState;
import dev.dyad.engine.vm.kvm.boot.BootImage;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.vm.kvm.QueuedDisk;
import dev.dyad.engine.vm.kvm.boot.LinuxImage;
import dev.dyad.engine.vm.kvm.devices.ConsolePort;
import dev.dyad.engine.vm.kvm.devices.NicPort;
import dev.dyad.engine.vm.kvm.devices.VirtioBlock;
import java.lang.System.Logger.Level;
import java.lang.System.Logger;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A microVM of this process with everything that makes it a primary: the machine, its way outside, the net thread, the arbiter, the node.
 *
 * <p>Control thread. Begins with a guest that boots here ({@link #boot}) or with one that has gone on here ({@link #goOn}). Closing ends
 * protection in good order and then the guest, which lives in this process.
 *
 * <p>A guest that asks for a reset is started anew from its image on the host that booted it, protected all the while. One that has gone on
 * elsewhere ends there instead: that host does not have the image.
 */
public final class ProtectedMicroVm implements AutoCloseable {
  /** Tells the standby which hypervisor's description it gets. */
  public static final int MACHINE_KIND = 2;

  private static final Logger LOG = System.getLogger("dyad.microvm");
  private static final long HELD_BYTES = 4L << 20;
  private static final int RING_ENTRIES_MIN = 1024;
  private static final Duration DETACH_BOUND = Duration.ofSeconds(10);

  /**
   * The built-in guest and its machine.
   *
   * @param memoryBytes of the guest, a multiple of 2 MiB
   * @param udp where clients reach its key-value service
   * @param pages that each vCPU writes to; 0: none
   * @param writesPerTick of each vCPU, 100 ticks a second; 0: as many as it can
   * @param stopAfter writes of each vCPU after which it adds up its checksum and rests; 0: never
   */
  public record Machine(long memoryBytes, int vcpus, SocketAddress udp, long pages, long writesPerTick, long stopAfter) {
    /** The image that is booted: the same for the same numbers, and so is the checksum that it ends with. */
    public BuiltinGuest image() {
      return BuiltinGuest.of(GuestPattern.random(pages, 1).withWritesPerTick(writesPerTick).withStopAfter(stopAfter)).withQuiet(true);
    }
  }

  /**
   * A Linux kernel and its machine.
   *
   * @param initrd null: none
   * @param append words for its command line, after those that the machine needs
   */
  public record Kernel(Path file, @Nullable Path initrd, String append, long memoryBytes, int vcpus) {
    private LinuxImage image(boolean disk) {
      String devices = disk ? LinuxImage.MACHINE_OPTIONS + " " + LinuxImage.DISK_OPTIONS : LinuxImage.MACHINE_OPTIONS;
      return LinuxImage.of(file, initrd, (devices + " " + append).strip());
    }
  }

  /**
   * What the operator says of protection.
   *
   * @param name of the guest, or empty: {@code microvm-PID}, and after a take-over the name that it had
   * @param standby where the (next) standby listens; null: the guest runs without
   * @param arbiter where it is; null: a file in the runtime directory, and after a take-over the primary's
   * @param disk of a guest that boots here, or null: it has none. One that was taken over brings its own
   */
  public record Options(
      String name,
      @Nullable SocketAddress standby,
      @Nullable SharedKey key,
      EpochConfig epochs,
      @Nullable ArbiterPlace arbiter,
      boolean busyPoll,
      int core,
      LinkConfig link,
      @Nullable DiskOptions disk) {
    /** Without a disk. */
    public Options(
        String name, @Nullable SocketAddress standby, @Nullable SharedKey key, EpochConfig epochs, @Nullable ArbiterPlace arbiter, boolean busyPoll, int core, LinkConfig link) {
      this(name, standby, key, epochs, arbiter, busyPoll, core, link, null);
    }
  }

  /** Hears the machine: a guest that asks for a reset is booted anew where it was booted here; a full dirty ring ends the epoch. */
  private final class Ears implements MachineListener {
    @Override
    public void powerChanged(PowerState state, String why) {
      if (state == PowerState.RESET && image != null) {
        resetSoon();
      }
    }

    @Override
    public void ringFull() {
      node.endEpoch();
    }
  }

  private final MicroVm machine;
  private final KvmPrimary hypervisor;
  private final @Nullable PrimaryDisk disk;
  private final MicroVmDescription description;
  private final Arbiter arbiter;
  private final PacketPort outside;
  private final HeldOutput console;
  private final LearnedAddresses nobody = new LearnedAddresses();
  private final NicPort nic;
  private final EventFd netBell = new EventFd();
  private final LearnedAddresses learned = new LearnedAddresses();
  private final HeldOutput held;
  private final InputRelay input;
  private final PrimaryNode node;
  private final NetThread net;
  private final Thread netThread;
  private final BuiltinGuestStatus guest;
  private final AtomicLong resets = new AtomicLong();
  private volatile @Nullable BootImage image;
  private @Nullable Thread announcer;

  private ProtectedMicroVm(
      MicroVm machine,
      @Nullable PrimaryDisk disk,
      MicroVmDescription description,
      PacketPort outside,
      FilePort consoleFile,
      Arbiter arbiter,
      ArbiterPlace place,
      String name,
      Options options,
      MicroVmTuning tuning,
      long generation,
      long firstEpoch) {
    this.machine = machine;
    this.disk = disk;
    this.description = description;
    this.outside = outside;
    this.arbiter = arbiter;
    NicPort card = machine.nic();
    if (card == null) {
      throw new IllegalArgumentException("a microVM without a network card");
    }
    nic = card;
    hypervisor = new KvmPrimary(machine);
    guest = new BuiltinGuestStatus(machine.ram().hostVirt(), description.vcpus());
    OutputEpoch epoch = new OutputEpoch(firstEpoch);
    ReleaseGate gate = new ReleaseGate(arbiter::newest, generation);
    held = new HeldOutput(nic, outside, gate, epoch, learned, netBell, HELD_BYTES, false);
    console = new HeldOutput((ConsolePort) machine.console(), consoleFile, gate, epoch, nobody, netBell, HeldOutput.CAPACITY_BYTES_MIN, false);
    input = new InputRelay(outside, nic);
    PrimaryConfig config =
        new PrimaryConfig(
            name,
            identity(),
            options.standby(),
            options.key(),
            options.epochs(),
            PrimaryConfig.RING_BYTES,
            PrimaryConfig.SNAPSHOT_PAGES,
            PrimaryConfig.DELTA_CACHE_BYTES,
            options.busyPoll(),
            options.core(),
            options.link(),
            tuning.earlyNanos());
    MachineEnvelope envelope = new MachineEnvelope(name, place.text(), options.epochs().detectorNanos(), description.encode());
    GuestOutput output = new GuestOutput(epoch, gate, List.of(held, console));
    node = new PrimaryNode(config, hypervisor, output, new NodePage(List.of(held), List.of(learned)), disk, arbiter, MACHINE_KIND, envelope);
    net = new NetThread(List.of(new NetThread.Nic(held, input), new NetThread.Nic(console, null)), netBell, node::doorbell, false);
    machine.listen(new Ears());
    netThread = Thread.ofPlatform().name("net").daemon().unstarted(net);
    output.pass();
    gate.goAlone(generation);
  }

  /**
   * Boots the built-in guest and protects it.
   *
   * @throws NotStartedException with one line that says what forbids it
   */
  public static ProtectedMicroVm boot(Machine wanted, Options options) {
    return boot(wanted, MicroVmPlace.udp(wanted.udp()), options);
  }

  /** The same, reached by other ways than UDP. */
  public static ProtectedMicroVm boot(Machine wanted, MicroVmPlace place, Options options) {
    // With a disk it writes each key down there before it answers.
    BuiltinGuest image = wanted.image().withLog(options.disk() == null ? BuiltinGuest.Log.OFF : BuiltinGuest.Log.BEFORE_REPLY);
    return boot(
        image, new MicroVmDescription(wanted.memoryBytes(), wanted.vcpus(), MicroVmConfig.MAC, BuiltinGuest.ADDRESS, BuiltinGuest.PORT, wanted.udp(), tapName(place), true), place, options);
  }

  /**
   * Boots a kernel and protects it. Over UDP it is reached at {@link BuiltinGuest#ADDRESS} and the port that clients use.
   *
   * @throws NotStartedException with one line that says what forbids it
   * @throws IllegalArgumentException with one line when a file is not what it should be, or does not fit the machine
   */
  public static ProtectedMicroVm boot(Kernel wanted, MicroVmPlace place, Options options) {
    SocketAddress udp = place.udp() != null ? place.udp() : SocketAddress.inet("127.0.0.1", 0);
    return boot(
        wanted.image(options.disk() != null), new MicroVmDescription(wanted.memoryBytes(), wanted.vcpus(), MicroVmConfig.MAC, BuiltinGuest.ADDRESS, udp.toInet().getPort(), udp, tapName(place), false), place, options);
  }

  private static String tapName(MicroVmPlace place) {
    return place.tap() == null ? "" : place.tap();
  }

  private static ProtectedMicroVm boot(BootImage image, MicroVmDescription described, MicroVmPlace host, Options options) {
    String unusable = Kvm.unusable();
    if (!unusable.isEmpty()) {
      throw new NotStartedException(NotStartedException.Obstacle.PERMISSION, unusable + "; needed is read and write access to it: see dyad doctor");
    }
    try {
      String name = options.name().isEmpty() ? "microvm-" + ProcessHandle.current().pid() : options.name();
      ArbiterPlace place = PrimaryNode.place(options.arbiter(), options.name(), name);
      Arbiter arbiter = place.open(name);
      try {
        long generation = PrimaryNode.generationFor(arbiter, identity(), place.what(name));
        AtomicReference<@Nullable QueuedDisk> queue = new AtomicReference<>();
        DiskOptions named = options.disk();
        PrimaryDisk disk = named == null ? null : PrimaryDisk.open(named, device -> queued(device, queue));
        MicroVm machine;
        try {
          machine = build(described, host.hugePages(), host.tuning(), queue.get());
        } catch (RuntimeException e) {
          close(disk);
          throw e;
        }
        try {
          machine.boot(image);
          ProtectedMicroVm made = assemble(machine, disk, described, host, arbiter, place, name, options, generation, 1);
          made.image = image;
          machine.resume();
          made.node.start(generation);
          return made;
        } catch (RuntimeException e) {
          close(disk);
          machine.close();
          throw e;
        }
      } catch (RuntimeException e) {
        arbiter.close();
        throw e;
      }
    } catch (IllegalArgumentException e) {
      throw e; // the user's numbers or files
    } catch (RuntimeException e) {
      throw NotStartedException.of(e);
    }
  }

  /**
   * Goes on with a guest that has been promoted here and protects it anew.
   *
   * @param promoted by a {@link KvmStandbyHost}
   * @param host what differs here from the other host
   */
  public static ProtectedMicroVm goOn(StandbyNode.Promoted promoted, MicroVmPlace host, Options options) {
    try {
      MachineEnvelope envelope = promoted.envelope();
      String name = options.name().isEmpty() ? envelope.name() : options.name();
      ArbiterPlace asked = options.arbiter();
      ArbiterPlace place = asked != null ? asked : new ArbiterPlace(envelope.arbiter());
      MicroVmDescription described = MicroVmDescription.decode(envelope.description());
      Arbiter arbiter = place.open(name);
      try {
        ProtectedMicroVm made =
            assemble(
                KvmStandbyHost.machine(promoted.machine()), promoted.disk(), described, host, arbiter, place, name, options, promoted.generation(), promoted.epoch() + 1);
        made.node.startPromoted(promoted.generation(), promoted.epoch() + 1);
        if (made.outside instanceof TapPort tap) {
          made.announce(promoted.nodePage(), tap);
        }
        return made;
      } catch (RuntimeException e) {
        arbiter.close();
        throw e;
      }
    } catch (RuntimeException e) {
      throw NotStartedException.of(e);
    }
  }

  private static ProtectedMicroVm assemble(
      MicroVm machine, @Nullable PrimaryDisk disk, MicroVmDescription described, MicroVmPlace host, Arbiter arbiter, ArbiterPlace place, String name, Options options, long generation, long firstEpoch) {
    Path console = host.console();
    FilePort consoleFile = FilePort.append(console == null ? Path.of("/dev/null") : console);
    PacketPort outside;
    try {
      outside = open(described, host);
    } catch (RuntimeException e) {
      consoleFile.close();
      throw e;
    }
    ProtectedMicroVm made = new ProtectedMicroVm(machine, disk, described, outside, consoleFile, arbiter, place, name, options, host.tuning(), generation, firstEpoch);
    made.netThread.start();
    return made;
  }

  private static QueuedDisk queued(BlockDevice device, AtomicReference<@Nullable QueuedDisk> made) {
    QueuedDisk queue = new QueuedDisk(device);
    made.set(queue);
    return queue;
  }

  private static void close(@Nullable PrimaryDisk disk) {
    if (disk != null) {
      disk.close();
    }
  }

  private static PacketPort open(MicroVmDescription described, MicroVmPlace host) {
    String tap = host.tap() != null ? host.tap() : host.udp() != null ? "" : described.tap();
    if (tap.isEmpty()) {
      return new UdpGateway(host.udp() != null ? host.udp() : described.udp(), described.mac(), described.guestIp(), described.guestPort());
    }
    if (!Tap.exists(tap)) { // opening it would make one that hangs on nothing
      throw new IllegalArgumentException("there is no interface " + tap + " here; make it: ip tuntap add " + tap + " mode tap user " + System.getProperty("user.name") + " && ip link set " + tap + " up (as root), or see dyad nic");
    }
    Tap opened = Tap.open(tap);
    try {
      opened.withoutOffload();
      opened.bringUp();
    } catch (NativeException e) {
      // Not this user's to change: it is as whoever made it left it, and a card that is down loses frames, which are counted.
      LOG.log(Level.INFO, "{0}", e.getMessage());
    }
    return new TapPort(opened);
  }

  /**
   * A machine of this shape, paused and empty.
   *
   * @param disk behind its disk device; null: it has none
   */
  static MicroVm build(MicroVmDescription description, boolean hugePages, MicroVmTuning tuning, @Nullable QueuedDisk disk) {
    // A ring that fills ends the epoch before it outgrows what one pause copies.
    int ringEntries = Math.max(RING_ENTRIES_MIN, Integer.highestOneBit(PrimaryConfig.SNAPSHOT_PAGES / Math.max(1, description.vcpus())));
    MicroVmConfig config =
        MicroVmConfig.of(description.memoryBytes(), description.vcpus()).withMac(description.mac()).withHugePages(hugePages).withRingEntries(ringEntries).withTracker(tuning.tracker()).withTechniques(tuning.techniques());
    MicroVm machine = new MicroVm(config, new ConsolePort(), MachineListener.NONE, disk);
    VirtioBlock block = machine.block();
    if (disk != null && block != null) {
      disk.tell(block);
    }
    return machine;
  }

  /** A vCPU's thread: the guest asks for it and stands. */
  private void resetSoon() {
    node.onLoop(this::reset);
  }

  /** The epoch thread, between two epochs. What the machine is from now on is part of the open one. */
  private void reset() {
    BootImage again = image;
    if (again != null && machine.power() == PowerState.RESET) {
      hypervisor.pause();
      machine.reset(again);
      resets.incrementAndGet();
      hypervisor.resume();
    }
  }

  private void announce(long nodePage, TapPort tap) {
    announcer =
        Thread.ofPlatform()
            .name("control-announce")
            .daemon()
            .start(
                () -> {
                  long start = System.nanoTime();
                  for (int at : Announcer.REPEAT_AFTER_MILLIS) {
                    try {
                      Thread.sleep(Math.max(0, at - (System.nanoTime() - start) / 1_000_000));
                    } catch (InterruptedException e) {
                      return;
                    }
                    NodePage.announce(nodePage, 0, tap);
                  }
                });
  }

  /** This process as the arbiter knows it: it runs one machine at most. */
  static String identity() {
    ProcessHandle self = ProcessHandle.current();
    return "microvm " + self.pid() + " " + self.info().startInstant().map(start -> start.toEpochMilli()).orElse(0L);
  }

  public PrimaryNode node() {
    return node;
  }

  /** Where clients reach the guest's UDP port, or its TAP. */
  public String way() {
    return switch (outside) {
      case UdpGateway gateway -> "UDP " + gateway.address().getAddress().getHostAddress() + ":" + gateway.address().getPort();
      case TapPort tap -> "TAP " + tap.tap().name();
      default -> outside.toString();
    };
  }

  /** Where clients reach the guest's UDP port; null when it has a TAP. */
  public @Nullable InetSocketAddress udp() {
    return outside instanceof UdpGateway gateway ? gateway.address() : null;
  }

  /** Whether the guest runs, or is about to again after a reset. */
  public boolean isOn() {
    return machine.power() == PowerState.ON || (machine.power() == PowerState.RESET && image != null);
  }

  /** Why it is not on, in one line. */
  public String powerLine() {
    return machine.power() + ": " + machine.powerReason();
  }

  public boolean isFenced() {
    return node.state() == PrimaryState.FENCED;
  }

  /** The vCPUs' threads, for cores and measurements. */
  List<Thread> vcpuThreads() {
    return machine.vcpuThreads();
  }

  /** The object behind {@code dyad status}: the node's, and what the guest says of itself. */
  public Map<String, Object> report() {
    Map<String, Object> report = node.report();
    report.put("memoryMiB", description.memoryBytes() >> 20);
    report.put("vcpus", description.vcpus());
    report.put("way", way());
    report.put("power", machine.power().name());
    report.put("resets", resets.get());
    if (description.builtin()) {
      Map<String, Object> facts = new LinkedHashMap<>();
      facts.put("done", guest.isDone());
      facts.put("checksum", Long.toHexString(guest.checksum()));
      facts.put("requests", guest.requests());
      facts.put("items", guest.items());
      facts.put("logRecords", guest.logRecords());
      facts.put("logCompleted", guest.logCompleted());
      facts.put("fault", guest.fault());
      report.put("builtin", facts);
    }
    return report;
  }

  @Override
  public void close() {
    stopAnnouncing();
    node.detach(DETACH_BOUND);
    net.stop();
    try {
      netThread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    net.close();
    outside.close();
    console.outside().close();
    input.close();
    held.close();
    console.close();
    node.close();
    close(disk); // before the memory from which it writes
    machine.close();
    arbiter.close();
    learned.close();
    nobody.close();
    netBell.close();
  }

  private void stopAnnouncing() {
    Thread present = announcer;
    if (present != null) {
      present.interrupt();
      try {
        present.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
