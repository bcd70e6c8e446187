package dev.dyad.engine.node;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.SocketAddress;
import dev.dyad.bindings.linux.Threads;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.epoch.StandbyProtocol;
import dev.dyad.engine.epoch.StandbyState;
import dev.dyad.engine.link.LinkMaker;
import dev.dyad.engine.link.Channel;
import dev.dyad.engine.link.Offer;
import dev.dyad.engine.link.PeerListener;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.Role;
import dev.dyad.engine.link.Session;
import dev.dyad.engine.memory.Rehearsal;
import dev.dyad.engine.observe.EpochMetrics;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.vm.StandbyMachine;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * A standby: listens, builds machines, runs the loop, and hands over the promoted machine.
 */
public final class StandbyNode implements AutoCloseable, StandbyLoop.Control {
  private static final Logger LOG = System.getLogger("dyad.standby");
  private static final Duration HANDSHAKE_BOUND = Duration.ofSeconds(20);
  private static final Duration CLOSE_BOUND = Duration.ofSeconds(5);

  /** What a standby needs of the hypervisor's part and of its host. Called on the control thread. */
  public interface Host {
    /**
     * Builds the machine that waits.
     *
     * @throws RuntimeException with one line when it cannot be built here
     */
    StandbyMachine build(int kind, MachineEnvelope envelope, GuestMemory memory);

    /** The arbiter of this guest. */
    Arbiter arbiter(MachineEnvelope envelope);

    /** What the arbiter is to know the waiting machine by. */
    String identity(StandbyMachine machine);
  }

  /**
   * A machine that has gone on here.
   *
   * @param disk its disk, the new owner's to close; null when it has none
   * @param nodePage address of the node's page of the state block; valid until the node is closed
   */
  public record Promoted(
      MachineEnvelope envelope, StandbyMachine machine, @Nullable PrimaryDisk disk, long nodePage, long generation, long epoch, long nanos) {}

  private final StandbyConfig config;
  private final Host host;
  private final @Nullable ReceivingDisk disk;
  private final EpochMetrics metrics = new EpochMetrics();
  private final LinkMaker links;
  private final StandbyLoop loop;
  private final Thread thread;
  private final AllocationMeter allocation;
  private final PeerListener listener;
  private final ExecutorService control = Executors.newSingleThreadExecutor(task -> Thread.ofPlatform().name("control").daemon().unstarted(task));
  private final CompletableFuture<Promoted> promoted = new CompletableFuture<>();

  private volatile @Nullable MachineEnvelope envelope;
  private volatile @Nullable Arbiter arbiter;
  private volatile String identity = "";
  private final AtomicBoolean listening = new AtomicBoolean(true);

  public StandbyNode(StandbyConfig config, Host host) {
    this(config, host, null);
  }

  /**
   * @param disk of the machine, the caller's to close after this; null: the machine has none that is protected
   */
  public StandbyNode(StandbyConfig config, Host host, @Nullable ReceivingDisk disk) {
    this.config = config;
    this.host = host;
    this.disk = disk;
    links = new LinkMaker(config.link());
    loop = new StandbyLoop(config.epochs(), new Idle(config.busyPoll(), config.link().spinNanos()), disk, metrics, this);
    thread = Thread.ofPlatform().name("epoch").unstarted(this::runLoop);
    allocation = new AllocationMeter(thread.threadId());
    listener = new PeerListener(config.listen(), Role.STANDBY, config.ringBytesMax(), config.key(), HANDSHAKE_BOUND, this::admit, this::accept);
  }

  public void start() {
    control.execute(Rehearsal::run); // before the first machine is built
    thread.start();
  }

  /** Where it listens, with the port that the kernel chose. */
  public SocketAddress address() {
    return listener.address();
  }

  /** Completed when the guest goes on here; exceptionally when the loop ended for another reason. */
  public CompletableFuture<Promoted> promoted() {
    return promoted;
  }

  /** Leaves in good order: gives up what is held and tells the primary. */
  public boolean stop(Duration bound) {
    loop.post(loop::stop);
    try {
      return thread.join(bound);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** Ends the loop at once without a word to the primary: what the death of this process would do. */
  void kill() throws InterruptedException {
    stopListening();
    loop.post(loop::die);
    thread.join();
  }

  public StandbyState state() {
    return loop.state();
  }

  public long wholeEpoch() {
    return loop.wholeEpoch();
  }

  public long threadId() {
    return thread.threadId();
  }

  private void admit(Offer offer) throws RefusedException {
    if (offer.channel() != Channel.MEMORY && disk == null) {
      throw new RefusedException(Reason.CHANNEL, offer.channel().wireCode(), Channel.MEMORY.wireCode());
    }
    if (offer.channel() == Channel.MEMORY && disk != null && !disk.isReceiving()) {
      throw new RefusedException(Reason.CHANNEL, Channel.MEMORY.wireCode(), Channel.DISK.wireCode()); // the disk comes first
    }
    if (offer.channel() != Channel.MEMORY && loop.state() != StandbyState.WAITING) {
      throw new RefusedException(Reason.BUSY, 1, 1);
    }
  }

  private void accept(Session session) {
    ReceivingDisk receiver = disk;
    try {
      if (session.offer().channel() != Channel.MEMORY && receiver != null) {
        receiver.offer(session);
        return;
      }
      ReplicaLink link = links.receivingEnd(session);
      loop.offer(link, session.offer().generation());
    } catch (IOException | RuntimeException e) {
      LOG.log(Level.WARNING, "no link to the primary: {0}", e.getMessage());
    }
  }

  private void runLoop() {
    try {
      if (config.core() >= 0) {
        Threads.setAffinity(0, config.core());
      }
      loop.run();
    } finally {
      Throwable failure = loop.failure();
      if (failure != null) {
        promoted.completeExceptionally(failure);
      } else if (loop.state() == StandbyState.STOPPED) {
        promoted.cancel(false);
      }
    }
  }

  // ---- StandbyLoop.Control

  @Override
  public void requestGeneration(long generation) {
    control.execute(
        () -> {
          Arbiter present = arbiter;
          Arbiter.Verdict verdict = present == null ? Arbiter.Verdict.UNREACHABLE : present.request(generation, identity);
          loop.post(() -> loop.event((protocol, now) -> tell(protocol, verdict, generation, now)));
        });
  }

  private static void tell(StandbyProtocol protocol, Arbiter.Verdict verdict, long generation, long now) {
    switch (verdict) {
      case GRANTED -> protocol.onGranted(generation, now);
      case DENIED -> protocol.onDenied(generation, now);
      case UNREACHABLE -> protocol.onArbiterUnreachable(generation, now);
    }
  }

  @Override
  public void cannotAsk(long generation) {
    loop.post(() -> loop.event((protocol, now) -> protocol.onArbiterUnreachable(generation, now)));
  }

  @Override
  public void buildMachine(int kind, byte[] description, GuestMemory memory) {
    control.execute(() -> build(kind, description, memory));
  }

  private void build(int kind, byte[] description, GuestMemory memory) {
    try {
      MachineEnvelope announced = MachineEnvelope.decode(description);
      if (announced.detectorNanos() != config.epochs().detectorNanos()) {
        throw new IllegalArgumentException(
            "detector bound of the primary is " + announced.detectorNanos() / 1e6 + " ms, here it is " + config.epochs().detectorNanos() / 1e6 + " ms; start both with the same --bound");
      }
      adopt(announced, memory, host.build(kind, announced, memory));
    } catch (RuntimeException e) {
      loop.refuseMachine(memory, String.valueOf(e.getMessage()));
    }
  }

  private void adopt(MachineEnvelope announced, GuestMemory memory, StandbyMachine machine) {
    try {
      identity = host.identity(machine);
      Arbiter before = arbiter;
      arbiter = host.arbiter(announced);
      envelope = announced;
      if (before != null) {
        before.close();
      }
      loop.attachMachine(memory, machine, Mapping.anonymous(memory.state().bytes()));
    } catch (RuntimeException e) {
      machine.close();
      throw e;
    }
  }

  @Override
  public void discardMachine(StandbyMachine machine) {
    try {
      control.execute(machine::close);
    } catch (RejectedExecutionException e) {
      machine.close(); // this node is being closed
    }
  }

  @Override
  public void promoted(StandbyMachine machine, @Nullable PrimaryDisk taken, long nodePage, long generation, long epoch) {
    MachineEnvelope announced = envelope;
    if (announced == null) {
      throw new IllegalStateException("promoted without an envelope");
    }
    // The address is free for the standby of the guest that goes on here.
    control.execute(this::stopListening);
    promoted.complete(new Promoted(announced, machine, taken, nodePage, generation, epoch, System.nanoTime()));
  }

  private void stopListening() {
    if (listening.compareAndSet(true, false)) {
      listener.close();
    }
  }

  // ---- reports

  /** The object behind {@code dyad status}. */
  public Map<String, Object> report() {
    Map<String, Object> report = new LinkedHashMap<>();
    MachineEnvelope announced = envelope;
    StandbyState state = loop.state();
    report.put("role", "standby");
    report.put("name", announced == null ? "" : announced.name());
    report.put("pid", ProcessHandle.current().pid());
    report.put("listen", listener.address().toString());
    report.put("state", state.name());
    report.put("protected", state == StandbyState.READY);
    report.put("why", loop.why());
    report.put("link", links.text(state == StandbyState.RECEIVING || state == StandbyState.READY));
    report.put("generation", loop.generation());
    report.put("epoch", loop.wholeEpoch());
    report.put("allocatedBytes", allocation.bytes());
    if (disk != null) {
      report.put("disk", disk.report());
    }
    return report;
  }

  /** Ends listening, and the loop if nobody has ended it yet, and frees what is the node's; the promoted machine is its new owner's. */
  @Override
  public void close() {
    stopListening();
    if (thread.isAlive()) {
      var _ = stop(CLOSE_BOUND);
    }
    control.shutdown();
    if (!thread.isAlive()) {
      loop.closeAll();
      Arbiter present = arbiter;
      if (present != null) {
        present.close();
      }
    }
  }
}
