package dev.dyad.engine.node;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.link.LinkConfig;
import dev.dyad.engine.link.SharedKey;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.InputRelay;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.NetThread;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.net.UdpGateway;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.vm.kvm.KvmPrimary;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.PowerState;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.vm.kvm.devices.NicPort;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A microVM of this process with everything that makes it a primary: the machine, its way outside, the net thread, the arbiter, the node.
 *
 * <p>Control thread. Begins with a guest that boots here ({@link #boot}) or with one that has gone on here ({@link #goOn}). Closing ends
 * protection in good order and then the guest, which lives in this process.
 */
public final class ProtectedMicroVm implements AutoCloseable {
  /** Tells the standby which hypervisor's description it gets. */
  public static final int MACHINE_KIND = 2;

  private static final long HELD_BYTES = 4L << 20;
  private static final long BYTES_STEP = 2 << 20;
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
   * What the operator says of protection.
   *
   * @param name of the guest, or empty: {@code microvm-PID}, and after a take-over the name that it had
   * @param standby where the (next) standby listens; null: the guest runs without
   * @param arbiter where it is; null: a file in the runtime directory, and after a take-over the primary's
   */
  public record Options(
      String name,
      @Nullable SocketAddress standby,
      @Nullable SharedKey key,
      EpochConfig epochs,
      @Nullable ArbiterPlace arbiter,
      boolean busyPoll,
      int core,
      LinkConfig link) {}

  private final MicroVm machine;
  private final MicroVmDescription description;
  private final Arbiter arbiter;
  private final UdpGateway gateway;
  private final NicPort nic;
  private final EventFd netBell = new EventFd();
  private final LearnedAddresses learned = new LearnedAddresses();
  private final HeldOutput held;
  private final InputRelay input;
  private final PrimaryNode node;
  private final NetThread net;
  private final Thread netThread;
  private final BuiltinGuestStatus guest;

  private ProtectedMicroVm(
      MicroVm machine, MicroVmDescription description, UdpGateway gateway, Arbiter arbiter, ArbiterPlace place, String name, Options options, long generation, long firstEpoch) {
    this.machine = machine;
    this.description = description;
    this.gateway = gateway;
    this.arbiter = arbiter;
    NicPort card = machine.nic();
    if (card == null) {
      throw new IllegalArgumentException("a microVM without a network card");
    }
    nic = card;
    guest = new BuiltinGuestStatus(machine.ram().hostVirt(), description.vcpus());
    OutputEpoch epoch = new OutputEpoch(firstEpoch);
    ReleaseGate gate = new ReleaseGate(arbiter::newest, generation);
    held = new HeldOutput(nic, gateway, gate, epoch, learned, netBell, HELD_BYTES, false);
    input = new InputRelay(gateway, nic);
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
            options.link());
    MachineEnvelope envelope = new MachineEnvelope(name, place.text(), options.epochs().detectorNanos(), description.encode());
    GuestOutput output = new GuestOutput(epoch, gate, List.of(held));
    node = new PrimaryNode(config, new KvmPrimary(machine), output, new NodePage(List.of(held), List.of(learned)), arbiter, MACHINE_KIND, envelope);
    net = new NetThread(List.of(new NetThread.Nic(held, input)), netBell, node::doorbell, false);
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
    try {
      String name = options.name().isEmpty() ? "microvm-" + ProcessHandle.current().pid() : options.name();
      ArbiterPlace place = PrimaryNode.place(options.arbiter(), options.name(), name);
      Arbiter arbiter = place.open(name);
      try {
        long generation = PrimaryNode.generationFor(arbiter, identity(), place.what(name));
        MicroVmDescription described =
            new MicroVmDescription(
                wanted.memoryBytes(), wanted.vcpus(), MicroVmConfig.MAC, BuiltinGuest.ADDRESS, BuiltinGuest.PORT, wanted.udp());
        MicroVm machine = build(described);
        try {
          machine.boot(wanted.image());
          ProtectedMicroVm made = assemble(machine, described, described.udp(), arbiter, place, name, options, generation, 1);
          machine.resume();
          made.node.start(generation);
          return made;
        } catch (RuntimeException e) {
          machine.close();
          throw e;
        }
      } catch (RuntimeException e) {
        arbiter.close();
        throw e;
      }
    } catch (RuntimeException e) {
      throw NotStartedException.of(e);
    }
  }

  /**
   * Goes on with a guest that has been promoted here and protects it anew.
   *
   * @param promoted by a {@link KvmStandbyHost}
   * @param udp where clients reach the guest here; null: where they did on the other host
   */
  public static ProtectedMicroVm goOn(StandbyNode.Promoted promoted, @Nullable SocketAddress udp, Options options) {
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
                KvmStandbyHost.machine(promoted.machine()), described, udp != null ? udp : described.udp(), arbiter, place, name, options, promoted.generation(), promoted.epoch() + 1);
        made.node.startPromoted(promoted.generation(), promoted.epoch() + 1);
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
      MicroVm machine, MicroVmDescription described, SocketAddress udp, Arbiter arbiter, ArbiterPlace place, String name, Options options, long generation, long firstEpoch) {
    UdpGateway gateway = new UdpGateway(udp, described.mac(), described.guestIp(), described.guestPort());
    ProtectedMicroVm made = new ProtectedMicroVm(machine, described, gateway, arbiter, place, name, options, generation, firstEpoch);
    made.netThread.start();
    return made;
  }

  /** A machine of this shape, paused and empty. */
  static MicroVm build(MicroVmDescription description) {
    if (description.memoryBytes() % BYTES_STEP != 0) {
      throw new IllegalArgumentException("memory of " + description.memoryBytes() + " bytes; needed is a multiple of 2 MiB");
    }
    MicroVmConfig config = MicroVmConfig.of(description.memoryBytes(), description.vcpus()).withMac(description.mac());
    return new MicroVm(config, character -> {}, MachineListener.NONE);
  }

  /** This process as the arbiter knows it: it runs one machine at most. */
  static String identity() {
    ProcessHandle self = ProcessHandle.current();
    return "microvm " + self.pid() + " " + self.info().startInstant().map(start -> start.toEpochMilli()).orElse(0L);
  }

  public PrimaryNode node() {
    return node;
  }

  /** Where clients reach the guest. */
  public InetSocketAddress udp() {
    return gateway.address();
  }

  /** Whether the guest has neither switched itself off nor failed. */
  public boolean isOn() {
    return machine.power() == PowerState.ON;
  }

  /** Why it is not on, in one line. */
  public String powerLine() {
    return machine.power() + ": " + machine.powerReason();
  }

  public boolean isFenced() {
    return node.state() == PrimaryState.FENCED;
  }

  /** The object behind {@code dyad status}: the node's, and what the guest says of itself. */
  public Map<String, Object> report() {
    Map<String, Object> report = node.report();
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("power", machine.power().name());
    facts.put("done", guest.isDone());
    facts.put("checksum", Long.toHexString(guest.checksum()));
    facts.put("requests", guest.requests());
    facts.put("items", guest.items());
    facts.put("fault", guest.fault());
    report.put("memoryMiB", description.memoryBytes() >> 20);
    report.put("vcpus", description.vcpus());
    report.put("udp", gateway.address().getAddress().getHostAddress() + ":" + gateway.address().getPort());
    report.put("builtin", facts);
    return report;
  }

  @Override
  public void close() {
    node.detach(DETACH_BOUND);
    net.stop();
    try {
      netThread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    net.close();
    gateway.close();
    input.close();
    held.close();
    node.close();
    machine.close();
    arbiter.close();
    learned.close();
    netBell.close();
  }
}
