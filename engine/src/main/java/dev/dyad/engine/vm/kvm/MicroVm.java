package dev.dyad.engine.vm.kvm;

import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
import static dev.dyad.bindings.abi.kvm.kvm_h.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

import dev.dyad.bindings.abi.kvm.kvm_msr_entry;
import dev.dyad.bindings.abi.kvm.kvm_msrs;
import dev.dyad.bindings.kvm.DirtyRing;
import dev.dyad.bindings.kvm.Kvm;
import dev.dyad.bindings.kvm.KvmCapabilities;
import dev.dyad.bindings.kvm.KvmVcpu;
import dev.dyad.bindings.kvm.KvmVm;
import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.bindings.linux.Threads;
import dev.dyad.engine.vm.kvm.boot.BootImage;
import dev.dyad.engine.vm.kvm.devices.BlockPort;
import dev.dyad.engine.vm.kvm.devices.ConsolePort;
import dev.dyad.engine.vm.kvm.devices.ConsoleSink;
import dev.dyad.engine.vm.kvm.devices.DeviceBus;
import dev.dyad.engine.vm.kvm.devices.InterruptLine;
import dev.dyad.engine.vm.kvm.devices.NicPort;
import dev.dyad.engine.vm.kvm.devices.PowerPorts;
import dev.dyad.engine.vm.kvm.devices.SerialPort;
import dev.dyad.engine.vm.kvm.devices.StatefulDevice;
import dev.dyad.engine.vm.kvm.devices.VirtioBlock;
import dev.dyad.engine.vm.kvm.devices.VirtioMmio;
import dev.dyad.engine.vm.kvm.devices.VirtioNet;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A virtual machine in this process: memory, vCPU threads, interrupt chips in the kernel, a few devices. It is born paused.
 *
 * <pre>
 *   0          .. 3 GiB        memory
 *   0xd0000000 + n × 0x1000    virtio-mmio windows, interrupt 5 + n
 *   0xfec00000, 0xfee00000     IOAPIC, LAPIC
 *   0xfffbc000 .. 0xfffc0000   what Intel hosts need for themselves
 *   4 GiB      ..              memory beyond 3 GiB
 * </pre>
 *
 * <p>Owns everything it is made of, a {@link ConsolePort} that it was given included. One thread at a time (the epoch thread once protected, else the control thread) pauses, captures,
 * resumes; {@link #close} comes last. Restoring a state is only for a machine that has not run since it was made, or that is paused.
 */
public final class MicroVm implements AutoCloseable {
  private static final long IDENTITY_MAP = 0xfffb_c000L;
  private static final long TSS = 0xfffb_d000L;
  private static final long VIRTIO_BASE = 0xd000_0000L;
  private static final int VIRTIO_STEP = 0x1000;
  private static final int VIRTIO_GSI = 5;
  private static final int NET = 0;
  private static final int BLOCK = 1;

  /** Registers that are no state but a command to write to guest memory. */
  private static final List<Integer> MSR_COMMANDS = List.of(0x11, 0x4b56_4d00);

  private final MicroVmConfig config;
  private volatile MachineListener listener;
  private final int pid = Threads.processId();

  private final Kvm kvm;
  private final KvmVm vm;
  private final GuestRam ram;
  private final DirtyTracker tracker;
  private final PauseGate gate;
  private final @Nullable CopyOnWrite copyOnWrite;
  private final Vcpu[] vcpus;
  private final InterruptChips chips;
  private final StateLayout layout;
  private final int cpuModel;
  private final int tscKhz;

  private final DeviceBus bus = new DeviceBus();
  private final List<EventFd> lines = new ArrayList<>();
  private final StatefulDevice[] devices;
  private final SerialPort serial;
  private final ConsoleSink console;
  private final @Nullable NicPort nic;
  private final @Nullable VirtioNet net;
  private final @Nullable VirtioBlock block;
  private final Mapping firstState;

  private volatile PowerState power = PowerState.ON;
  private volatile String powerReason = "";
  private boolean paused = true;

  /** Copies of the last epoch are still to be made: the guest may run, its devices may not write its memory. */
  private volatile boolean copying;

  /** The vCPUs have been told to read their state since it last changed. */
  private boolean capturing;
  private boolean closed;

  /** A machine without a disk. */
  public MicroVm(MicroVmConfig config, ConsoleSink console, MachineListener listener) {
    this(config, console, listener, null);
  }

  /**
   * @param disk what is behind the disk device; null: there is none
   */
  public MicroVm(MicroVmConfig config, ConsoleSink console, MachineListener listener, @Nullable BlockPort disk) {
    this.config = config;
    this.listener = listener;
    this.console = console;
    kvm = Kvm.open();
    KvmCapabilities capabilities = KvmCapabilities.probe(kvm);
    List<String> missing = capabilities.missing();
    if (!missing.isEmpty()) {
      kvm.close();
      throw new IllegalStateException("this kernel's KVM has no " + String.join(", no ", missing));
    }
    if (config.vcpus() < 1 || config.vcpus() > Math.min(capabilities.vcpusMax(), BootImage.VCPUS_MAX)) {
      kvm.close();
      throw new IllegalArgumentException(config.vcpus() + " vCPUs: 1 to " + Math.min(capabilities.vcpusMax(), BootImage.VCPUS_MAX) + " are possible");
    }
    vm = kvm.createVm();
    vm.setIdentityMapAddress(IDENTITY_MAP);
    vm.setTssAddress(TSS);
    vm.createIrqChip();
    vm.createPit();
    boolean ring = chooseRing(config, capabilities);
    if (ring) {
      vm.enable(KVM_CAP_DIRTY_LOG_RING_ACQ_REL(), config.ringEntries() * DirtyRing.ENTRY_BYTES);
    } else {
      vm.enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2(), KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE());
    }
    Techniques techniques = config.techniques();
    if (techniques.copyOnWrite()) {
      String unusable = config.hugePages() ? "copy-on-write goes by pages of 4 KiB, and huge ones are configured" : CopyOnWrite.unusable();
      if (!unusable.isEmpty()) {
        vm.close();
        kvm.close();
        throw new IllegalStateException(unusable);
      }
    }
    ram = new GuestRam(config.memoryBytes(), config.hugePages(), techniques.copyOnWrite());
    ram.attach(vm, 0);
    copyOnWrite = techniques.copyOnWrite() ? new CopyOnWrite(ram) : null;
    gate = new PauseGate(config.vcpus(), config.spins());

    List<StatefulDevice> all = new ArrayList<>();
    serial = new SerialPort(line(SerialPort.GSI), console);
    bus.add(SerialPort.PORT, SerialPort.PORTS, serial);
    all.add(serial);
    PowerPorts.addTo(bus, this::powerOff);
    if (config.mac() != 0) {
      nic = new NicPort();
      net = new VirtioNet(ram, line(VIRTIO_GSI + NET), macBytes(config.mac()), nic);
      bus.add(VIRTIO_BASE + NET * VIRTIO_STEP, VirtioMmio.WINDOW_BYTES, net);
      all.add(net);
    } else {
      nic = null;
      net = null;
    }
    if (disk != null) {
      block = new VirtioBlock(ram, line(VIRTIO_GSI + BLOCK), disk);
      bus.add(VIRTIO_BASE + BLOCK * VIRTIO_STEP, VirtioMmio.WINDOW_BYTES, block);
      all.add(block);
    } else {
      block = null;
    }
    devices = all.toArray(StatefulDevice[]::new);
    int deviceBytes = 0;
    for (StatefulDevice device : devices) {
      deviceBytes += device.stateBytes();
    }

    CpuidTable cpuid = new CpuidTable(kvm.supportedCpuid(), config.vcpus(), capabilities.tscDeadline());
    cpuModel = cpuid.model();
    KvmVcpu[] made = new KvmVcpu[config.vcpus()];
    for (int i = 0; i < made.length; i++) {
      made[i] = vm.createVcpu(i);
      made[i].setCpuid(cpuid.of(i));
    }
    tscKhz = (int) Math.max(0, made[0].tscKhz());
    int[] msrs = restorableMsrs(made[0], kvm.msrIndices());
    layout = new StateLayout(config.vcpus(), config.memoryBytes(), capabilities.xsaveBytes(), msrs.length, deviceBytes);
    chips = new InterruptChips(vm, layout);
    boolean synced = (capabilities.syncRegs() & VcpuState.SYNCED) == VcpuState.SYNCED;
    vcpus = new Vcpu[made.length];
    for (int i = 0; i < made.length; i++) {
      vcpus[i] = new Vcpu(i, this, made[i], new VcpuState(made[i], layout, msrs, synced), gate, bus, synced);
    }
    if (ring) {
      DirtyRing[] rings = new DirtyRing[made.length];
      for (int i = 0; i < rings.length; i++) {
        rings[i] = new DirtyRing(made[i], config.ringEntries());
      }
      tracker = new RingTracker(vm, ram, rings, techniques.hotPagesMax());
    } else {
      tracker = new LogTracker(vm, ram);
    }
    for (Vcpu vcpu : vcpus) {
      vcpu.start();
    }
    gate.awaitStopped();
    for (StatefulDevice device : devices) {
      device.quiesce();
    }
    firstState = Mapping.anonymous((layout.totalBytes + 4095) & -4096L);
    capture(firstState.hostVirt(), layout.totalBytes);
  }

  private static boolean chooseRing(MicroVmConfig config, KvmCapabilities capabilities) {
    return switch (config.tracker()) {
      case BEST -> capabilities.dirtyRing();
      case RING -> {
        if (!capabilities.dirtyRing()) {
          throw new IllegalStateException("this kernel's KVM has no KVM_CAP_DIRTY_LOG_RING_ACQ_REL");
        }
        yield true;
      }
      case LOG -> false;
    };
  }

  private InterruptLine line(int gsi) {
    EventFd bell = new EventFd();
    lines.add(bell);
    vm.connectIrq(bell.fd(), gsi, true);
    return bell::signal;
  }

  private static byte[] macBytes(long mac) {
    byte[] bytes = new byte[6];
    for (int i = 0; i < 6; i++) {
      bytes[i] = (byte) (mac >>> (8 * (5 - i)));
    }
    return bytes;
  }

  /** Those of the list that can be read and written back on this kernel, TSC_DEADLINE last. */
  private static int[] restorableMsrs(KvmVcpu vcpu, int[] indices) {
    List<Integer> kept = new ArrayList<>();
    try (Mapping page = Mapping.anonymous(4096)) {
      long msrs = page.hostVirt();
      for (int index : Arrays.stream(indices).distinct().toArray()) {
        Memory.zero(msrs, 64);
        Memory.putInt(msrs + kvm_msrs.nmsrs$offset(), 1);
        Memory.putInt(msrs + kvm_msrs.sizeof() + kvm_msr_entry.index$offset(), index);
        if (!MSR_COMMANDS.contains(index) && vcpu.getMsrs(msrs) == 1 && vcpu.setMsrs(msrs) == 1) {
          kept.add(index);
        }
      }
    }
    if (kept.remove((Integer) VcpuState.MSR_TSC_DEADLINE)) {
      kept.add(VcpuState.MSR_TSC_DEADLINE);
    }
    return kept.stream().mapToInt(Integer::intValue).toArray();
  }

  /** Loads an image and sets the vCPUs to its start. The machine is paused. */
  public void boot(BootImage image) {
    requirePaused();
    endCapture();
    image.load(ram, config.vcpus());
    for (int i = 0; i < vcpus.length; i++) {
      image.prepare(i, vcpus[i].kvm());
      vcpus[i].unsettle();
    }
  }

  /** Starts anew, as after a power cycle: memory empty but for the image, vCPUs and devices as they were made. The machine is paused. */
  public void reset(BootImage image) {
    requirePaused();
    restore(firstState.hostVirt(), layout.totalBytes);
    for (StatefulDevice device : devices) {
      device.reset();
    }
    Memory.zero(ram.hostVirt(), ram.bytes());
    ram.wrote(ram.hostVirt(), ram.bytes());
    boot(image);
  }

  /** Who hears from now on what the machine does of its own accord. */
  public void listen(MachineListener other) {
    listener = other;
  }

  public MicroVmConfig config() {
    return config;
  }

  public GuestRam ram() {
    return ram;
  }

  DirtyTracker tracker() {
    return tracker;
  }

  public SerialPort serial() {
    return serial;
  }

  /** What takes the guest's console output. */
  public ConsoleSink console() {
    return console;
  }

  /** The outer end of the network card's wire; null without a card. */
  public @Nullable NicPort nic() {
    return nic;
  }

  /** The network card; null without one. */
  public @Nullable VirtioNet net() {
    return net;
  }

  /** The disk device, which is to be told of completions; null without one. */
  public @Nullable VirtioBlock block() {
    return block;
  }

  public PowerState power() {
    return power;
  }

  /** Why the machine is not {@link PowerState#ON}, in one line. */
  public String powerReason() {
    return powerReason;
  }

  /** Stable size of a captured state. */
  public int stateBytes() {
    return layout.totalBytes;
  }

  StateLayout layout() {
    return layout;
  }

  public boolean isPaused() {
    return paused;
  }

  /** The vCPUs' threads, for cores and measurements. */
  public List<Thread> vcpuThreads() {
    return Arrays.stream(vcpus).map(Vcpu::thread).toList();
  }

  /** Times that a vCPU met a full dirty ring. */
  public long ringFullCount() {
    return tracker.ringFullCount();
  }

  // ---- pause and state ----

  /** Stops the vCPUs and the devices; the vCPUs begin at once to read their state, which {@link #capture} waits for. */
  public void pause() {
    if (paused) {
      return;
    }
    gate.enter(PauseGate.STOP);
    for (int i = 0; i < vcpus.length; i++) {
      vcpus[i].kick(pid);
    }
    gate.awaitStopped();
    for (int i = 0; i < devices.length; i++) {
      devices[i].quiesce();
    }
    paused = true;
    startCapture();
  }

  private void startCapture() {
    capturing = true;
    if (config.techniques().parallelCapture()) {
      gate.enter(PauseGate.CAPTURE);
    }
  }

  private void awaitCaptured() {
    if (config.techniques().parallelCapture()) {
      gate.awaitCaptured();
      return;
    }
    for (int i = 0; i < vcpus.length; i++) {
      vcpus[i].capture();
    }
  }

  /** Before the vCPUs' state is changed from here. */
  private void endCapture() {
    if (capturing) {
      awaitCaptured();
      capturing = false;
    }
  }

  /**
   * Writes the machine's state.
   *
   * @return bytes written: {@link #stateBytes}
   */
  public int capture(long destination, int bytesMax) {
    requirePaused();
    if (bytesMax < layout.totalBytes) {
      throw new IllegalArgumentException("room of " + bytesMax + " bytes for a machine state of " + layout.totalBytes);
    }
    if (!capturing) {
      startCapture();
    }
    layout.writeHeader(destination, power, cpuModel, tscKhz);
    chips.capture(destination);
    long at = destination + layout.devices;
    for (int i = 0; i < devices.length; i++) {
      devices[i].saveState(at);
      at += devices[i].stateBytes();
    }
    awaitCaptured();
    for (int i = 0; i < vcpus.length; i++) {
      RuntimeException failure = vcpus[i].failure();
      if (failure != null) {
        throw failure;
      }
      vcpus[i].state().copyTo(destination + layout.vcpu(i));
    }
    return layout.totalBytes;
  }

  /** Puts the machine into a captured state; throws {@link MalformedStateException} when it is none of a machine like this. */
  public void restore(long source, int bytes) {
    restore(source, bytes, VcpuState.Part.values());
  }

  /** The same with only these parts of the vCPUs' state, in this order. */
  void restore(long source, int bytes, VcpuState.Part[] order) {
    requirePaused();
    endCapture();
    PowerState wanted = layout.checkHeader(source, bytes, cpuModel);
    for (int i = 0; i < vcpus.length; i++) {
      vcpus[i].state().check(source + layout.vcpu(i));
    }
    long at = source + layout.devices;
    for (StatefulDevice device : devices) {
      device.restoreState(at);
      at += device.stateBytes();
    }
    chips.restore(source);
    int khz = StateLayout.tscKhz(source);
    for (int i = 0; i < vcpus.length; i++) {
      if (khz != tscKhz && vcpus[i].kvm().setTscKhz(khz) < 0) {
        throw new MalformedStateException("machine state: TSC of " + khz + " kHz, this host has " + tscKhz + " and cannot scale");
      }
      vcpus[i].state().restore(source + layout.vcpu(i), order);
      vcpus[i].unsettle();
    }
    power = wanted;
    powerReason = wanted == PowerState.ON ? "" : "restored";
  }

  /** Lets devices and vCPUs go on. */
  public void resume() {
    if (!paused) {
      return;
    }
    paused = false;
    capturing = false;
    if (copyOnWrite != null && copyOnWrite.isPending()) {
      copying = true;
    } else {
      wakeDevices();
    }
    gate.enter(PauseGate.RUN);
  }

  private void wakeDevices() {
    for (int i = 0; i < devices.length; i++) {
      devices[i].wake();
    }
  }

  /** How pages are copied after the resume; null: they are not. */
  @Nullable CopyOnWrite copyOnWrite() {
    return copyOnWrite;
  }

  /** Makes the copies that were put off; then the devices go on, unless the machine stays paused. */
  void finishCopies() {
    if (copyOnWrite == null || !copyOnWrite.isPending()) {
      return;
    }
    copyOnWrite.copyRest();
    if (copying) {
      wakeDevices();
      copying = false;
    }
  }

  private void requirePaused() {
    if (!paused) {
      throw new IllegalStateException("the machine runs: pause it first");
    }
  }

  // ---- vCPU threads ----

  /** Until the devices may write the guest's memory. Seldom, and then for as long as some pages take to be copied. */
  void awaitCopies() {
    while (copying) {
      Thread.yield();
    }
  }

  void ringFull() {
    tracker.ringFull();
    listener.ringFull();
  }

  /** The guest is not to run any more. The first reason counts. */
  void powerOff(PowerState next, String why) {
    synchronized (this) {
      if (power != PowerState.ON) {
        return;
      }
      powerReason = why;
      power = next;
    }
    for (Vcpu vcpu : vcpus) {
      vcpu.kick(pid);
    }
    listener.powerChanged(next, why);
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    finishCopies();
    pause();
    gate.awaitStopped();
    gate.enter(PauseGate.CLOSE);
    for (Vcpu vcpu : vcpus) {
      vcpu.join();
    }
    tracker.close();
    for (Vcpu vcpu : vcpus) {
      vcpu.state().close();
      vcpu.kvm().close();
    }
    for (EventFd bell : lines) {
      bell.close();
    }
    if (nic != null) {
      nic.close();
    }
    if (block != null) {
      block.close();
    }
    if (console instanceof ConsolePort port) {
      port.close();
    }
    firstState.close();
    gate.close();
    vm.close();
    kvm.close();
    if (copyOnWrite != null) {
      copyOnWrite.close();
    }
    ram.close();
  }
}
