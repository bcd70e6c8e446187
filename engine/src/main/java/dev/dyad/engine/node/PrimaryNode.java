package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Clocks;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Threads;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.arbiter.ArbiterPlace;
import dev.dyad.engine.epoch.PrimaryProtocol;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.link.Channel;
import dev.dyad.engine.link.Offer;
import dev.dyad.engine.link.LinkMaker;
import dev.dyad.engine.link.PeerCaller;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.Role;
import dev.dyad.engine.link.Session;
import dev.dyad.engine.memory.MemoryFrame;
import dev.dyad.engine.memory.Rehearsal;
import dev.dyad.engine.net.GuestOutput;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.observe.RuntimeDirectory;
import dev.dyad.engine.observe.EpochTrace;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.Hypervisor;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A primary: the loop on its thread, and the control threads that do for it what may block (arbiter, connecting).
 *
 * <p>Does not own hypervisor, output and arbiter: who made them closes them, after {@link #awaitEnd}.
 */
public final class PrimaryNode implements AutoCloseable, PrimaryLoop.Control {
  private static final Logger LOG = System.getLogger("dyad.primary");
  private static final Duration CONNECT_BOUND = Duration.ofSeconds(20);
  private static final Duration CLOSE_BOUND = Duration.ofSeconds(5);

  /** Pause before the next attempt to connect: twice as long after each that failed, or whose link did not last. */
  private static final long RETRY_MILLIS = 200;
  private static final long RETRY_MILLIS_MAX = 2_000;
  private static final long LASTING_NANOS = 5_000_000_000L;

  /** How often a disk that is being levelled is looked at. */
  private static final long LEVELLING_MILLIS = 50;

  private static final long DISK_RING_BYTES = 16L << 20;
  private static final long DISK_BACK_RING_BYTES = 2L << 20;
  private static final int DIGEST_BYTES = 32;
  private static final SecureRandom RANDOM = new SecureRandom();

  private final PrimaryConfig config;
  private final Hypervisor hypervisor;
  private final Arbiter arbiter;
  private final GuestOutput output;
  private final @Nullable PrimaryDisk disk;
  private final int machineKind;
  private final byte[] machine;
  private final EpochMetrics metrics = new EpochMetrics();
  private final EpochTrace trace = new EpochTrace();
  private final PrimaryLoop loop;
  private final Thread thread;
  private final AllocationMeter allocation;
  private final ScheduledExecutorService control = Executors.newSingleThreadScheduledExecutor(daemon("control"));
  private final ScheduledExecutorService dialer = Executors.newSingleThreadScheduledExecutor(daemon("control-connect"));
  private final LinkMaker links;
  private final PeerCaller caller;
  private volatile String connectProblem = "";

  /** Guarded by this. */
  private long retryMillis = RETRY_MILLIS;

  private long linkedNanos;

  /**
   * @param nodePage what the standby is to know of the guest's network
   * @param machineKind of the hypervisor, as the standby knows it
   * @param machine what the standby needs to build a machine like this
   */
  PrimaryNode(
      PrimaryConfig config, Hypervisor hypervisor, GuestOutput output, NodePage nodePage, Arbiter arbiter, int machineKind, MachineEnvelope machine) {
    this(config, hypervisor, output, nodePage, null, arbiter, machineKind, machine);
  }

  /**
   * @param disk the guest's, the caller's to close after this; null: it has none that is protected
   */
  PrimaryNode(
      PrimaryConfig config,
      Hypervisor hypervisor,
      GuestOutput output,
      NodePage nodePage,
      @Nullable PrimaryDisk disk,
      Arbiter arbiter,
      int machineKind,
      MachineEnvelope machine) {
    this.disk = disk;
    this.config = config;
    this.hypervisor = hypervisor;
    this.arbiter = arbiter;
    this.output = output;
    this.machineKind = machineKind;
    this.machine = machine.encode();
    links = new LinkMaker(config.link());
    caller = new PeerCaller(config.key(), CONNECT_BOUND);
    loop = new PrimaryLoop(config, hypervisor, output, nodePage, disk, metrics, trace, this);
    thread = Thread.ofPlatform().name("epoch").unstarted(this::runLoop);
    allocation = new AllocationMeter(thread.threadId());
  }

  /**
   * The generation under which the guest of {@code identity} may be protected: 1 for a guest that nobody has protected yet, the
   * next one for the guest that holds the last.
   *
   * @param what holds the generation, in words
   * @throws NotStartedException when another guest holds the last one
   */
  public static long generationFor(Arbiter arbiter, String identity, String what) {
    long newest = arbiter.current();
    if (newest < 0) {
      throw new NotStartedException(
          NotStartedException.Obstacle.UNAVAILABLE, "the arbiter does not answer (" + arbiter.problem() + "); needed is one that both sides reach");
    }
    if (newest > 0 && arbiter.request(newest, identity) != Arbiter.Verdict.GRANTED) {
      throw new NotStartedException(
          NotStartedException.Obstacle.HELD_ELSEWHERE,
          "generation " + newest + " is held by another machine, which has gone on with this guest; end this machine, or, if the other is gone for good, remove " + what + " and run the same command again");
    }
    return newest + 1;
  }

  /**
   * Where the arbiter of a guest is.
   *
   * @param asked by the operator; null: a file in the runtime directory
   * @param given name by the operator, or empty
   * @param name that the guest has
   */
  static ArbiterPlace place(@Nullable ArbiterPlace asked, String given, String name) {
    if (asked != null && asked.isShared() && given.isEmpty()) {
      throw new IllegalArgumentException("the guest has no name; an arbiter that hosts share needs one of its own for each guest: add --name NAME");
    }
    return asked != null ? asked : ArbiterPlace.file(RuntimeDirectory.path().resolve(name + ".generation"));
  }

  /** Starts with a guest that runs here under {@code generation}, which is still to be won. */
  public void start(long generation) {
    loop.post(() -> loop.event((protocol, now) -> protocol.onStart(generation, 1, now)));
    thread.start();
    trace.start();
    dialer.execute(Rehearsal::run); // before the first attempt to connect
    findStandby();
  }

  /** Starts with a guest that has just been promoted here under {@code generation}. */
  public void startPromoted(long generation, long firstEpoch) {
    loop.post(() -> loop.event((protocol, now) -> protocol.onPromoted(generation, firstEpoch, now)));
    thread.start();
    trace.start();
    dialer.execute(Rehearsal::run); // before the first attempt to connect
    findStandby();
  }

  /** Has {@code task} run by the epoch thread between two epochs. Any thread. */
  void onLoop(Runnable task) {
    loop.post(task);
  }

  /** Rung by the net thread when output of an epoch waits; allocates nothing. */
  public void doorbell() {
    loop.doorbell();
  }

  /** The open epoch should end as soon as it may. Any thread, a vCPU's too; allocates nothing. */
  public void endEpoch() {
    loop.endEpoch();
  }

  /** Ends protection in good order; the guest runs on. Returns when it is done, at the latest after {@code bound}. */
  public boolean detach(Duration bound) {
    loop.post(loop::detach);
    return awaitEnd(bound);
  }

  /** Waits for the end of the loop: detached, fenced or failed. */
  public boolean awaitEnd(Duration bound) {
    try {
      return thread.join(bound);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** Ends the loop at once without a word to the standby, which then takes over: what the death of this process would do. */
  void kill() {
    loop.post(loop::die);
    awaitEnd(Duration.ofSeconds(10));
  }

  public PrimaryState state() {
    return loop.state();
  }

  /** What ended the loop although it should have gone on, or null. */
  public @Nullable Throwable failure() {
    return loop.failure();
  }

  public EpochMetrics metrics() {
    return metrics;
  }

  /** Why the standby was not reached the last time, in one line; empty when it was. */
  public String connectProblem() {
    return connectProblem;
  }

  /** Thread of the loop, for tests that count what it allocates. */
  public long threadId() {
    return thread.threadId();
  }

  private void runLoop() {
    if (config.core() >= 0) {
      Threads.setAffinity(0, config.core());
    }
    loop.run();
  }

  // ---- PrimaryLoop.Control

  @Override
  public void requestGeneration(long generation) {
    control.execute(
        () -> {
          Arbiter.Verdict verdict = arbiter.request(generation, config.identity());
          loop.post(() -> loop.event((protocol, now) -> tell(protocol, verdict, generation, now)));
        });
  }

  private static void tell(PrimaryProtocol protocol, Arbiter.Verdict verdict, long generation, long now) {
    switch (verdict) {
      case GRANTED -> protocol.onGranted(generation, now);
      case DENIED -> protocol.onDenied(generation, now);
      case UNREACHABLE -> protocol.onArbiterUnreachable(generation, now);
    }
  }

  @Override
  public void findStandby() {
    SocketAddress standby = config.standby();
    if (standby != null) {
      dialLater(standby, pauseBeforeDialing());
    }
  }

  private void dialLater(SocketAddress standby, long millis) {
    if (!dialer.isShutdown()) {
      dialer.schedule(() -> dial(standby), millis, TimeUnit.MILLISECONDS);
    }
  }

  private synchronized long pauseBeforeDialing() {
    if (linkedNanos != 0 && System.nanoTime() - linkedNanos > LASTING_NANOS) {
      retryMillis = RETRY_MILLIS;
    }
    linkedNanos = 0;
    long pause = retryMillis;
    retryMillis = Math.min(2 * retryMillis, RETRY_MILLIS_MAX);
    return pause;
  }

  private synchronized void linked() {
    linkedNanos = System.nanoTime();
  }

  private void dial(SocketAddress standby) {
    if (!thread.isAlive()) {
      return;
    }
    if (loop.state() != PrimaryState.ALONE) {
      // Undecided who goes on: no link may come before the verdict.
      dialLater(standby, RETRY_MILLIS);
      return;
    }
    if (disk != null && !levelDisk(disk, standby)) {
      if (disk.isConnected()) {
        dialLater(standby, LEVELLING_MILLIS);
      } else {
        findStandby();
      }
      return;
    }
    GuestMemory memory = hypervisor.memory();
    long bytes = memory.pages() << GuestMemory.PAGE_SHIFT;
    Offer offer = new Offer(Role.PRIMARY, Channel.MEMORY, loop.generation(), config.ringBytes(), bytes, MemoryFrame.digest(memory));
    try {
      ReplicationLink link = caller.call(standby, offer, links::sendingEnd);
      connectProblem = "";
      linked();
      loop.offer(link, machineKind, machine);
    } catch (IOException | RefusedException | RuntimeException e) {
      boolean wantsDisk = disk == null && e instanceof RefusedException refused && refused.code() == Reason.CHANNEL.code();
      connectProblem = wantsDisk ? "the standby expects a disk: name the guest's with --disk NODE=FILE" : String.valueOf(e.getMessage());
      findStandby();
    }
  }

  /** The disk first, since it may take long: memory follows when the standby's disk has all but what is being written. */
  private boolean levelDisk(PrimaryDisk present, SocketAddress standby) {
    if (!present.isMirroring()) {
      present.wantLevel(false);
      try {
        connectDisk(present, standby);
      } catch (RefusedException e) {
        connectProblem =
            e.code() == Reason.CHANNEL.code() ? "the standby takes no disk: start it with --disk NODE=FILE" : String.valueOf(e.getMessage());
      } catch (IOException | RuntimeException e) {
        connectProblem = String.valueOf(e.getMessage());
      }
      return false;
    }
    boolean near = present.percent() == 100;
    present.wantLevel(near);
    if (!near || !present.isCaughtUp()) {
      connectProblem = "levelling the disk: " + present.percent() + " %";
      return false;
    }
    return true;
  }

  private void connectDisk(PrimaryDisk present, SocketAddress standby) throws IOException, RefusedException {
    if (present.isConnected()) {
      return; // they are finding out what they are to each other
    }
    String before = present.reason();
    connectProblem = "the standby's disk is being connected" + (before.isEmpty() ? "" : "; before: " + before);
    byte[] pair = new byte[DIGEST_BYTES];
    RANDOM.nextBytes(pair);
    long generation = loop.generation();
    ReplicationLink out = caller.call(standby, new Offer(Role.PRIMARY, Channel.DISK, generation, DISK_RING_BYTES, 0, pair), Session::sendingEnd);
    try {
      Offer back = new Offer(Role.PRIMARY, Channel.DISK_BACK, generation, DISK_BACK_RING_BYTES, 0, pair);
      present.attach(out, caller.call(standby, back, Session::receivingEnd), generation);
    } catch (IOException | RefusedException | RuntimeException e) {
      out.close();
      throw e;
    }
  }

  /** What {@link #command} takes. */
  public static final String VERIFY_DISK = "verify the disk";

  /** Does what another command on this host asks for; the answer is empty when it is done. */
  public String command(String line) {
    if (!line.equals(VERIFY_DISK)) {
      return "this node does not know: " + line;
    }
    return disk == null ? "this machine has no protected disk" : disk.startVerify() ? "" : "the standby's disk is not level: nothing to compare with";
  }

  // ---- reports

  /** The object behind {@code dyad status}. */
  public Map<String, Object> report() {
    Map<String, Object> report = new LinkedHashMap<>();
    PrimaryState state = loop.state();
    boolean isProtected = state == PrimaryState.PROTECTED;
    report.put("role", "primary");
    report.put("name", config.name());
    report.put("pid", ProcessHandle.current().pid());
    report.put("guest", config.identity());
    report.put("peer", config.standby() == null ? "" : config.standby().toString());
    report.put("state", state.name());
    report.put("protected", isProtected);
    report.put("why", isProtected ? "" : connectProblem.isEmpty() ? loop.why() : loop.why() + "; " + connectProblem);
    report.put("link", links.text(isLinked(state)));
    report.put("generation", loop.generation());
    report.put("epoch", loop.openEpoch());
    report.put("epochs", metrics.epochsCommitted());
    report.put("lastCommittedEpoch", metrics.lastCommittedEpoch());
    report.put("commitAgeMillis", metrics.lastCommitNanos() == 0 ? -1 : (Clocks.bootNs() - metrics.lastCommitNanos()) / 1e6);
    report.put("baselinePagesLeft", metrics.baselinePagesLeft());
    report.put("pauseMicros", NodeReports.micros(metrics.pauseNanos()));
    report.put("cutMicros", NodeReports.micros(metrics.cutNanos()));
    report.put("pausePartsMicros", NodeReports.parts(metrics));
    report.put("shipMicros", NodeReports.micros(metrics.shipNanos()));
    report.put("commitMicros", NodeReports.micros(metrics.commitNanos()));
    report.put("dirtyPages", NodeReports.counts(metrics.dirtyPages()));
    report.put("epochBytes", NodeReports.counts(metrics.epochBytes()));
    report.put("pagesShipped", metrics.pagesShipped());
    report.put("pagesShippedEarly", metrics.pagesShippedEarly());
    report.put("ringsFull", metrics.ringsFull());
    report.put("bytesShipped", metrics.bytesShipped());
    report.put("heldPackets", metrics.packetsHeld());
    report.put("releasedPackets", metrics.packetsReleased());
    report.put("droppedPackets", output.droppedFrames());
    report.put("allocatedBytes", allocation.bytes());
    if (disk != null) {
      report.put("disk", disk.report());
    }
    report.put("allocatedBytesPerEpoch", allocation.bytesPerEpoch(metrics.epochsCommitted()));
    return report;
  }

  private static boolean isLinked(PrimaryState state) {
    return switch (state) {
      case SYNCING, JOINING, PROTECTED, HANDING_OVER, LEAVING -> true;
      default -> false;
    };
  }

  @Override
  public void close() {
    trace.close();
    caller.close();
    control.shutdownNow();
    dialer.shutdownNow();
    awaitEnd(control);
    awaitEnd(dialer);
    if (!thread.isAlive()) {
      loop.closeAll();
    }
  }

  /** They use what others close after this. */
  private static void awaitEnd(ScheduledExecutorService ending) {
    try {
      if (!ending.awaitTermination(CLOSE_BOUND.toMillis(), TimeUnit.MILLISECONDS)) {
        LOG.log(Level.WARNING, "a control thread does not end");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static java.util.concurrent.ThreadFactory daemon(String name) {
    return task -> Thread.ofPlatform().name(name).daemon().unstarted(task);
  }
}
