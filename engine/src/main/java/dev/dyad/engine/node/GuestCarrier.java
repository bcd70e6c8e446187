package dev.dyad.engine.node;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.engine.arbiter.Arbiter;
import dev.dyad.engine.net.HeldOutput;
import dev.dyad.engine.net.LearnedAddresses;
import dev.dyad.engine.net.NetThread;
import dev.dyad.engine.net.OutputEpoch;
import dev.dyad.engine.net.PacketPort;
import dev.dyad.engine.net.ReleaseGate;
import dev.dyad.engine.net.SocketSplice;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Carries the frames of a guest that has gone on at this host between its sockets and the TAPs, unprotected, until somebody protects it
 * again: that process then carries them.
 *
 * <p>Whatever happens, nothing leaves here once a newer generation was won: the gate looks at what is known of the arbiter. Opened while the guest
 * still waits, so that what is missing is known before it is needed; {@link #start} is the promotion's, everything else the control thread's.
 */
final class GuestCarrier implements AutoCloseable {
  /** Opens the splice of one NIC. */
  interface Opener {
    SocketSplice open(String netdev);
  }

  private static final Logger LOG = System.getLogger("dyad.standby");
  private static final long PASSED_BYTES = 4L << 20;

  /** What runs while frames are carried. */
  private record Running(NetThread net, Thread thread, List<HeldOutput> outputs, List<LearnedAddresses> learned, EventFd bell) {}

  private final List<String> netdevs;
  private final Opener opener;
  private final Arbiter arbiter;
  private final Map<String, SocketSplice> splices = new LinkedHashMap<>();
  private @Nullable Running running;
  private long generation;

  /**
   * @param arbiter of the guest; ours to close
   */
  GuestCarrier(List<String> netdevs, Opener opener, Arbiter arbiter) {
    this.netdevs = List.copyOf(netdevs);
    this.opener = opener;
    this.arbiter = arbiter;
    try {
      openAll();
    } catch (RuntimeException e) {
      arbiter.close();
      throw e;
    }
  }

  private void openAll() {
    try {
      netdevs.forEach(netdev -> splices.put(netdev, opener.open(netdev)));
    } catch (RuntimeException e) {
      closeAll();
      throw e;
    }
  }

  private void closeAll() {
    splices.values().forEach(SocketSplice::close);
    splices.clear();
  }

  /** The guest runs here now, under the arbiter's newest generation. */
  synchronized void start() {
    if (generation == 0) {
      generation = arbiter.newest();
    }
    OutputEpoch epoch = new OutputEpoch(1);
    ReleaseGate gate = new ReleaseGate(arbiter::newest, generation);
    gate.goAlone(generation);
    EventFd bell = new EventFd();
    List<HeldOutput> outputs = new ArrayList<>();
    List<LearnedAddresses> learned = new ArrayList<>();
    List<NetThread.Nic> nics = new ArrayList<>();
    for (SocketSplice splice : splices.values()) {
      splice.dropStale();
      LearnedAddresses addresses = new LearnedAddresses();
      HeldOutput output = new HeldOutput(splice.guest(), splice.outside(), gate, epoch, addresses, bell, PASSED_BYTES, splice.blocksGuest());
      output.pass();
      learned.add(addresses);
      outputs.add(output);
      nics.add(new NetThread.Nic(output, splice.input()));
    }
    NetThread net = new NetThread(nics, bell, () -> {}, false);
    running = new Running(net, Thread.ofPlatform().name("net").daemon().start(net), outputs, learned, bell);
  }

  /** To be called now and then: makes room for a process that protects the guest again, and takes over again from one that could not. */
  synchronized void tend(boolean protectedByAnother) {
    if (running != null && protectedByAnother) {
      stop();
      closeAll();
    } else if (running == null && generation != 0 && !protectedByAnother && arbiter.current() == generation) {
      try {
        openAll();
        start();
      } catch (RuntimeException e) {
        LOG.log(Level.WARNING, "the guest's network is not carried: {0}", e.getMessage());
      }
    }
  }

  /** Where frames of that NIC leave; null while nothing is carried. */
  synchronized @Nullable PacketPort outside(String netdev) {
    SocketSplice splice = splices.get(netdev);
    return splice == null ? null : splice.outside();
  }

  private void stop() {
    Running present = running;
    if (present == null) {
      return;
    }
    running = null;
    present.net.stop();
    boolean interrupted = false;
    while (present.thread.isAlive()) {
      try {
        present.thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    present.net.close();
    present.outputs.forEach(HeldOutput::close);
    present.learned.forEach(LearnedAddresses::close);
    present.bell.close();
  }

  @Override
  public synchronized void close() {
    stop();
    closeAll();
    arbiter.close();
  }
}
