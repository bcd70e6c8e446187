package dev.dyad.perf.kvm;

import com.sun.management.ThreadMXBean;
import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Poll;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.engine.link.PeerSocket;
import dev.dyad.engine.link.shm.ShmReplicationLink;
import dev.dyad.engine.memory.EpochWriter;
import dev.dyad.engine.memory.LastSent;
import dev.dyad.engine.node.EarlyPages;
import dev.dyad.engine.node.EpochCutter;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.kvm.KvmPrimary;
import dev.dyad.engine.vm.kvm.MachineListener;
import dev.dyad.engine.vm.kvm.MicroVm;
import dev.dyad.engine.vm.kvm.MicroVmConfig;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuest;
import dev.dyad.engine.vm.kvm.boot.BuiltinGuestStatus;
import dev.dyad.engine.vm.kvm.boot.GuestPattern;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.Reason;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.time.Duration;

/**
 * Our engine on one guest: the machine, the cut, the encoder, the shared ring, as the node uses them; an epoch ends when every vCPU has written
 * each of its pages, and the next one not before this one is acknowledged, as in the C program.
 *
 * <p>One thread. At the end the standby's memory is compared with the guest's, so that figures of an engine that loses pages do not exist.
 */
final class EngineRun implements EpochWriter.Listener, EpochCutter.Overflow {
  private static final int PAYLOAD_BYTES = 256 << 10;
  private static final int SNAPSHOT_PAGES = 16_384;
  private static final long CACHE_BYTES = 128L << 20;
  private static final Runnable NOTHING = () -> {};

  private final KvmCase wanted;
  private final StandbyProcess standby;
  private final MicroVmConfig config;
  private final long earlyNanos;
  private final ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
  private final long[] seen;
  private boolean ready;
  private long acknowledged = -1;
  private long sealedAt;
  private String problem = "";

  /**
   * @param spins turns that waiting threads spin
   */
  EngineRun(KvmCase wanted, StandbyProcess standby, int spins, Variant variant) {
    this.wanted = wanted;
    this.standby = standby;
    config = config(wanted, spins, variant);
    earlyNanos = variant.earlyNanos();
    seen = new long[wanted.vcpus()];
  }

  private static MicroVmConfig config(KvmCase wanted, int spins, Variant variant) {
    return MicroVmConfig.of((long) wanted.memoryMib() << 20, wanted.vcpus()).withMac(0).withSpins(spins).withTracker(variant.tracker()).withTechniques(variant.techniques());
  }

  /**
   * Runs the case once.
   *
   * @return bytes that the epoch thread allocated in the measured epochs
   */
  long run(int epochs, int warmup, EpochTimes into) {
    GuestPattern pattern = GuestPattern.sequential(wanted.pages() / wanted.vcpus(), 1);
    try (MicroVm machine = new MicroVm(config, character -> {}, MachineListener.NONE);
        ShmReplicationLink link = ShmReplicationLink.receive(connect(), EpochStandby.RING_BYTES, (int) Duration.ofSeconds(10).toMillis());
        LastSent lastSent = new LastSent(CACHE_BYTES);
        EpochWriter writer = new EpochWriter(link, lastSent, EpochStandby.GENERATION, PAYLOAD_BYTES, this)) {
      machine.boot(BuiltinGuest.of(pattern).withQuiet(true));
      KvmPrimary primary = new KvmPrimary(machine);
      try (EpochCutter cutter = new EpochCutter(primary, SNAPSHOT_PAGES);
          EarlyPages early = new EarlyPages(primary, earlyNanos)) {
        return measure(machine, primary, cutter, early, link, writer, epochs, warmup, into);
      }
    }
  }

  private FileDescriptor connect() {
    try {
      return PeerSocket.connect(SocketAddress.unix(standby.socket()), Duration.ofSeconds(10)).release();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private long measure(
      MicroVm machine, KvmPrimary primary, EpochCutter cutter, EarlyPages early, ShmReplicationLink link, EpochWriter writer, int epochs, int warmup, EpochTimes into) {
    BuiltinGuestStatus guest = new BuiltinGuestStatus(machine.ram().hostVirt(), wanted.vcpus());
    long usedPages = (BuiltinGuest.WORK_BASE >>> GuestMemory.PAGE_SHIFT) + wanted.pages();
    primary.startTracking();
    writer.begin(0, true);
    writer.sendMemory(primary.memory());
    while (!ready) {
      turn(link, writer);
    }
    DirtyPages all = new DirtyPages(16);
    all.add(0, usedPages);
    ship(link, writer, all, machine.ram().hostVirt());
    cutter.cut(NOTHING, this);
    finish(cutter, link, writer, 0);

    Cuts cuts = new Cuts(into);
    long begin = 0;
    long bytesBefore = 0;
    long writesBefore = 0;
    for (long epoch = 1; epoch <= (long) warmup + epochs; epoch++) {
      if (epoch == warmup + 1L) {
        bytesBefore = threads.getCurrentThreadAllocatedBytes();
        begin = System.nanoTime();
        writesBefore = writes(guest);
      }
      awaitRounds(guest, early, link, writer);
      while (link.released() < sealedAt) {
        turn(link, writer); // the last epoch applied, too: as in C, one is on its way at a time
      }
      long start = System.nanoTime();
      cutter.cut(NOTHING, this);
      finish(cutter, link, writer, epoch);
      if (epoch > warmup) {
        cuts.record(cutter, System.nanoTime() - start);
      }
    }
    into.ran(epochs, (System.nanoTime() - begin) / 1e9);
    into.wrote(writes(guest) - writesBefore);
    long bytes = threads.getCurrentThreadAllocatedBytes() - bytesBefore;
    primary.halt();
    cutter.cut(NOTHING, this);
    finish(cutter, link, writer, (long) warmup + epochs + 1);
    compare(machine, writer, link, usedPages << GuestMemory.PAGE_SHIFT);
    return bytes;
  }

  private long writes(BuiltinGuestStatus guest) {
    long sum = 0;
    for (int i = 0; i < wanted.vcpus(); i++) {
      sum += guest.writes(i);
    }
    return sum;
  }

  /** Until every vCPU has begun and ended a round over its pages. What is found meanwhile is shipped if the variant says so. */
  private void awaitRounds(BuiltinGuestStatus guest, EarlyPages early, ShmReplicationLink link, EpochWriter writer) {
    early.restart(System.nanoTime());
    for (int i = 0; i < seen.length; i++) {
      seen[i] = guest.rounds(i) + 1;
    }
    for (int i = 0; i < seen.length; i++) {
      while (guest.rounds(i) <= seen[i]) {
        if (early.isOn()) {
          shipEarly(early, link, writer);
        }
        Thread.yield();
      }
    }
  }

  private void shipEarly(EarlyPages early, ShmReplicationLink link, EpochWriter writer) {
    long now = System.nanoTime();
    if (early.nanosUntilDue(now) > 0) {
      return;
    }
    early.look(now);
    while (early.isUnderWay()) {
      if (early.step(writer) == 0) {
        turn(link, writer);
      }
    }
  }

  private void finish(EpochCutter cutter, ShmReplicationLink link, EpochWriter writer, long epoch) {
    ship(link, writer, cutter.ramPages(), cutter.snapshotVirt());
    ship(link, writer, cutter.statePages(), cutter.stateVirt());
    writer.seal(cutter.stateBytes(), System.nanoTime());
    sealedAt = writer.writtenBytes();
    while (acknowledged < epoch) {
      turn(link, writer);
    }
    writer.begin(epoch + 1, false);
  }

  private void ship(ShmReplicationLink link, EpochWriter writer, DirtyPages pages, long copies) {
    writer.startPages(pages, copies);
    while (!writer.shipPages()) {
      turn(link, writer);
    }
  }

  private void turn(ShmReplicationLink link, EpochWriter writer) {
    if (writer.poll() == 0 && link.prepareToWait()) {
      Poll.once(link.pollFd(), link.pollEvents(), 1000);
    }
    if (!link.isUp() || !problem.isEmpty()) {
      throw new IllegalStateException("the standby's process: " + problem + link.failure());
    }
  }

  private void compare(MicroVm machine, EpochWriter writer, ShmReplicationLink link, long bytes) {
    writer.bye(Reason.DETACHED, bytes, 0);
    String theirs = standby.answer();
    String ours = "crc " + Integer.toHexString(new Crc32c(machine.ram().hostVirt(), bytes).of(machine.ram().hostVirt(), (int) bytes));
    if (!ours.equals(theirs)) {
      throw new IllegalStateException(wanted + ": the standby's memory is not the guest's: " + theirs + ", needed " + ours + link.failure());
    }
  }

  /** What one cut took, into the histograms. */
  private static final class Cuts {
    private final EpochTimes times;

    private Cuts(EpochTimes times) {
      this.times = times;
    }

    void record(EpochCutter cutter, long commitNanos) {
      times.record(EpochTimes.Part.PAUSE, cutter.pauseNanos());
      times.record(EpochTimes.Part.COMMIT, commitNanos);
      times.record(EpochTimes.Part.STOP, cutter.stopNanos());
      times.record(EpochTimes.Part.SCAN, cutter.scanNanos());
      times.record(EpochTimes.Part.COPY, cutter.copyNanos());
      times.record(EpochTimes.Part.STATE, cutter.stateNanos());
      times.record(EpochTimes.Part.RESUME, cutter.resumeNanos());
    }
  }

  @Override
  public void ship(DirtyPages pages, long copies) {
    throw new IllegalStateException(wanted + ": more pages than the snapshot's " + SNAPSHOT_PAGES);
  }

  @Override
  public void ready() {
    ready = true;
  }

  @Override
  public void acknowledged(long epoch, long sentNanos) {
    acknowledged = epoch;
  }

  @Override
  public void echoed(long sentNanos) {}

  @Override
  public void bye(int reasonCode) {
    problem = Reason.message(reasonCode, 0, 0);
  }

  @Override
  public void refused(int reasonCode, long found, long needed) {
    problem = Reason.message(reasonCode, found, needed);
  }

  @Override
  public void malformed(Reason reason) {
    problem = "malformed: " + reason;
  }
}
