package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.EpochConfig;
import dev.dyad.engine.epoch.PrimaryState;
import dev.dyad.engine.epoch.StandbyState;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.PriorityQueue;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Everything under one seed and one clock: runs events in the order of their times, injects faults in episodes, and demands
 * after each that protection comes back.
 */
final class World {
  private static final int TRACE_LINES = 120;
  private static final long TURNS_MAX_PER_EPISODE = 2_000_000;

  private record Event(long time, long order, Runnable action) implements Comparable<Event> {
    @Override
    public int compareTo(Event other) {
      return time != other.time ? Long.compare(time, other.time) : Long.compare(order, other.order);
    }
  }

  private record Orphan(SimGuest guest, long generation, long openEpoch) {}

  private final SplittableRandom random;
  private final Mutation mutation;
  private final EpochConfig config;
  private final boolean strictFraming;
  private final int pages;
  private final @Nullable ArrayDeque<String> trace;
  private final PriorityQueue<Event> events = new PriorityQueue<>();
  private final Host[] hosts = new Host[2];
  private final @Nullable Orphan[] orphans = new @Nullable Orphan[2];
  private final List<SimLink> links = new ArrayList<>();
  private final boolean[] cut = new boolean[2];
  private final SimArbiter arbiter;
  private final Rules rules;
  private final Faults faults;
  private SimClient client;
  private long now;
  private long order;
  private int frameFaultPerMille;
  private long linkDelayNanosMax;
  private boolean linkIsSlow;
  private long damageUntil;
  private boolean stormy;
  private final long applyNanosMax;
  /** Faults since the guest was last seen protected; one that never was may be lost by any. */
  private int disturbances;
  private long lostGuests;
  private long promotions;
  private long repliesBefore;

  World(long seed, Mutation mutation, boolean tracing) {
    random = new SplittableRandom(seed);
    this.mutation = mutation;
    trace = tracing ? new ArrayDeque<>() : null;
    long detector = 10_000_000L + random.nextLong(20_000_000L);
    long driftPpmMax = random.nextBoolean() ? 1_000 : 20_000;
    long margin = detector * 2 * driftPpmMax / 1_000_000 + 1_000 + (random.nextBoolean() ? detector / 10 : 0);
    config = new EpochConfig(detector / (4 + random.nextInt(40)), 2 + random.nextInt(3), random.nextInt(3) > 0, detector, margin, detector / 8,
        4 * detector, detector / 2, 2 * detector);
    strictFraming = random.nextBoolean();
    pages = 64 + random.nextInt(256);
    applyNanosMax = random.nextInt(4) == 0 ? detector / 4 : 60_000;
    for (int i = 0; i < 2; i++) {
      long offset = switch (random.nextInt(3)) {
        case 0 -> Long.MAX_VALUE - random.nextLong(5_000_000_000L);
        case 1 -> -random.nextLong(5_000_000_000L);
        default -> random.nextLong();
      };
      hosts[i] = new Host(this, i, offset, random.nextLong(2 * driftPpmMax + 1) - driftPpmMax);
    }
    arbiter = new SimArbiter(this, random);
    rules = new Rules(this);
    faults = new Faults(this, random);
    client = new SimClient(this, random);
    linkDelayNanosMax = usualDelay();
    startAnew();
    guestsWork();
    seekStandbys();
  }

  // ---- running

  /** Runs until {@code epochs} were sealed. */
  void run(long epochs) {
    while (rules.sealedEpochs() < epochs) {
      episode();
    }
  }

  private void episode() {
    long bounds = switch (random.nextInt(8)) {
      case 0 -> 0;
      case 1 -> 12;
      default -> 4;
    };
    long count = bounds == 0 ? 0 : 1 + random.nextLong(bounds);
    for (int i = 0; i < count; i++) {
      after(random.nextLong((bounds - 1) * config.detectorNanos()), faults::inject);
    }
    stormy = count > 0;
    runUntil(now + (count == 0 ? random.nextLong(20 * config.detectorNanos()) : bounds * config.detectorNanos()), () -> false);
    stormy = false;
    heal();
    trace(() -> "-- nothing is in the way any more");
    long healed = now;
    long deadline = now + 60 * config.detectorNanos();
    if (!runUntil(deadline, this::isProtected)) {
      throw new RuleBroken(Rule.PROTECTION_RETURNS, "not protected " + (now - healed) / config.detectorNanos() + " bounds after the last fault");
    }
    long committed = primary() instanceof PrimaryNode node ? node.protocol().sealedEpoch() : 0;
    long replies = client.replies();
    deadline = now + 20 * config.detectorNanos();
    if (!runUntil(deadline, () -> primary() instanceof PrimaryNode node && node.protocol().releasedEpoch() > committed && client.replies() > replies + 8)) {
      throw new RuleBroken(Rule.PROTECTION_RETURNS, "protected, but nothing is committed and released");
    }
  }

  private boolean runUntil(long time, java.util.function.BooleanSupplier enough) {
    for (long turns = 0; !enough.getAsBoolean(); turns++) {
      Event next = events.peek();
      if (next == null || next.time > time) {
        now = time;
        return false;
      }
      if (turns > TURNS_MAX_PER_EPISODE) {
        throw new AssertionError("the world does not move on");
      }
      events.poll();
      now = next.time;
      next.action.run();
    }
    return true;
  }

  void at(long time, Runnable action) {
    events.add(new Event(time, order++, action));
  }

  void after(long delayNanos, Runnable action) {
    at(now + delayNanos, action);
  }

  // ---- what there is

  long now() {
    return now;
  }

  EpochConfig config() {
    return config;
  }

  SplittableRandom random() {
    return random;
  }

  Mutation mutation() {
    return mutation;
  }

  Rules rules() {
    return rules;
  }

  SimArbiter arbiter() {
    return arbiter;
  }

  SimClient client() {
    return client;
  }

  Host host(int index) {
    return hosts[index];
  }

  int pages() {
    return pages;
  }

  boolean strictFraming() {
    return strictFraming;
  }

  int frameFaultPerMille() {
    return frameFaultPerMille;
  }

  boolean isCut(int fromHost) {
    return cut[fromHost];
  }

  long linkDelayNanos() {
    return 10_000 + random.nextLong(linkDelayNanosMax);
  }

  /** Epochs, promotions, guests lost by more than one fault, replies: for the summary. */
  long[] figures() {
    return new long[] {rules.sealedEpochs(), promotions, lostGuests, repliesBefore + client.replies()};
  }

  /** The process that runs the guest under the newest generation, when there is one. */
  Host.@Nullable Process primary() {
    for (Host host : hosts) {
      if (host.process() instanceof PrimaryNode node && !node.isFenced() && arbiter.holder() == host.index()) {
        return node;
      }
    }
    return null;
  }

  private boolean isProtected() {
    return primary() instanceof PrimaryNode node
        && node.protocol().state() == PrimaryState.PROTECTED
        && hosts[1 - node.host().index()].process() instanceof StandbyNode standby
        && standby.protocol().state() == StandbyState.READY;
  }

  long applyNanos() {
    return 5_000 + random.nextLong(applyNanosMax);
  }

  // ---- the network

  SimLink connect(PrimaryNode from) {
    SimLink link = new SimLink(this);
    links.add(link);
    if (links.size() > 16) {
      links.remove(0);
    }
    int to = 1 - from.host().index();
    link.attach(from.host().index(), from);
    link.attach(to, new SimLink.End() {
      @Override
      public void frameArrives(SimLink arriving, byte[] bytes, boolean tampered) {
        if (hosts[to].process() instanceof StandbyNode standby) {
          arriving.attach(to, standby);
          standby.frameArrives(arriving, bytes, tampered);
        } else {
          arriving.close(to);
        }
      }

      @Override
      public void closeArrives(SimLink arriving) {}
    });
    return link;
  }

  void sendToGuests(Request request) {
    SimClient from = client;
    for (Host host : hosts) {
      after(20_000 + random.nextInt(60_000), () -> {
        if (from == client && host.process() instanceof PrimaryNode node) {
          node.guest().receive(request);
        }
      });
    }
  }

  void sendToClient(Packet packet) {
    SimClient to = client;
    int copies = frameFaultPerMille > 0 && random.nextInt(50) == 0 ? random.nextInt(3) : 1;
    for (int i = 0; i < copies; i++) {
      after(20_000 + random.nextInt(60_000), () -> to.receive(packet));
    }
  }

  // ---- hosts and guests

  private void guestsWork() {
    for (Host host : hosts) {
      if (host.process() instanceof PrimaryNode node) {
        node.guest().scribble(random, random.nextInt(6));
      }
    }
    if (disturbances > 0 && isProtected() && nothingIsWrong()) {
      disturbances = 0;
    }
    after(50_000 + random.nextInt(300_000), this::guestsWork);
  }

  private void seekStandbys() {
    for (Host host : hosts) {
      if (host.process() instanceof PrimaryNode node) {
        host.run(node, node::seekStandby);
      }
    }
    after(config.detectorNanos() / 4, this::seekStandbys);
  }

  private void startAnew() {
    arbiter.startAnew();
    disturbances = 2;
    Host first = hosts[random.nextInt(2)];
    SimGuest guest = new SimGuest(new long[pages], packet -> {});
    PrimaryNode node = new PrimaryNode(this, first, guest, rules.newestSealed() + 1, false);
    first.start(node);
    Host second = hosts[1 - first.index()];
    second.start(new StandbyNode(this, second));
    node.begin(arbiter.generation() + 1);
    client.start();
  }

  /** Kills the process of {@code host}, or the whole host with it. */
  void crash(Host host, boolean hostToo) {
    Host.Process victim = host.process();
    trace(() -> (hostToo ? "host " : "process on host ") + host.index() + " dies: " + (victim == null ? "nothing" : victim.status()));
    host.died(hostToo);
    restartLater(host);
    checkGuest();
  }

  /** Kills the engine; the guest beside it lives on, and nothing leaves it. */
  void orphan(Host host, PrimaryNode node) {
    trace(() -> "the engine on host " + host.index() + " dies beside its guest: " + node.status());
    orphans[host.index()] = new Orphan(node.guest(), node.generation(), node.openEpochNumber() + 1);
    node.guest().connect(packet -> {});
    host.died(false);
    restartLater(host);
  }

  private void restartLater(Host host) {
    after(random.nextLong(2 * config.detectorNanos()), () -> {
      Orphan orphan = orphans[host.index()];
      if (host.process() != null) {
        return;
      }
      if (orphan == null) {
        host.start(new StandbyNode(this, host));
      } else {
        orphans[host.index()] = null;
        PrimaryNode node = new PrimaryNode(this, host, orphan.guest, orphan.openEpoch, false);
        host.start(node);
        node.begin(orphan.generation + 1);
      }
    });
  }

  void promoted(Host host, long generation, long epoch, long[] replica) {
    promotions++;
    SimGuest guest = new SimGuest(replica, packet -> {});
    PrimaryNode node = new PrimaryNode(this, host, guest, epoch + 1, false);
    host.start(node);
    node.beginPromoted(generation);
  }

  void fenced(PrimaryNode node) {
    after(random.nextLong(2 * config.detectorNanos()), () -> {
      if (!node.isDead()) {
        node.host().start(new StandbyNode(this, node.host()));
      }
    });
    checkGuest();
  }

  void detached(PrimaryNode node) {
    trace(() -> node + " is detached");
    after(random.nextLong(config.detectorNanos()), () -> {
      if (!node.isDead()) {
        PrimaryNode next = new PrimaryNode(this, node.host(), node.guest(), node.openEpochNumber(), true);
        node.host().start(next);
        next.begin(node.generation() + 1);
      }
    });
  }

  void stopped(Host host) {
    after(random.nextLong(config.detectorNanos()), () -> {
      if (host.process() instanceof StandbyNode node && node.protocol().state() == StandbyState.STOPPED) {
        host.start(new StandbyNode(this, host));
      }
    });
  }

  /** Is there still a host that runs the guest or may go on with it? */
  void checkGuest() {
    after(0, () -> {
      for (Host host : hosts) {
        if (orphans[host.index()] != null
            || (host.process() instanceof PrimaryNode node && !node.isFenced())
            || (host.process() instanceof StandbyNode standby && standby.protocol().state().holdsWholeEpoch())) {
          return;
        }
      }
      guestLost();
    });
  }

  private void guestLost() {
    if (disturbances < 2) {
      throw new RuleBroken(Rule.PROTECTION_RETURNS, "the guest was lost after " + disturbances + " fault since it was protected");
    }
    trace(() -> "the guest is lost after " + disturbances + " faults; a new one starts");
    lostGuests++;
    repliesBefore += client.replies();
    client.end();
    client = new SimClient(this, random);
    for (Host host : hosts) {
      host.died(true);
    }
    startAnew();
  }

  // ---- faults

  /** A frame that arrives then is not as it was sent; it may take until a commit is overdue before that is noticed. */
  void damaged(long arrival) {
    damageUntil = Math.max(damageUntil, arrival + 2 * config.commitNanosMax());
  }

  private boolean nothingIsWrong() {
    return frameFaultPerMille == 0 && now > damageUntil && !cut[0] && !cut[1] && !linkIsSlow && arbiter.isHealthy() && !hosts[0].isFrozen() && !hosts[1].isFrozen()
        && !hosts[0].isArmed() && !hosts[1].isArmed();
  }

  /** The most delicate time: a fault is likely to come right now. */
  void baselineStarts() {
    if (stormy && random.nextInt(3) == 0) {
      after(random.nextLong(1_500_000), faults::inject);
    }
  }

  void disturbed(String what) {
    disturbances++;
    trace(() -> "!! " + what);
  }

  void cut(int fromHost) {
    cut[fromHost] = true;
  }

  void frameFaultPerMille(int perMille) {
    frameFaultPerMille = perMille;
  }

  private long usualDelay() {
    return 20_000 + random.nextLong(100_000);
  }

  void slowLink() {
    linkIsSlow = true;
    linkDelayNanosMax = config.detectorNanos() * 3 / (2 + random.nextInt(12));
  }

  void healLink() {
    cut[0] = cut[1] = false;
    for (SimLink link : List.copyOf(links)) {
      link.heal(0);
      link.heal(1);
    }
  }

  private void heal() {
    frameFaultPerMille = 0;
    linkIsSlow = false;
    linkDelayNanosMax = usualDelay();
    arbiter.heal();
    for (Host host : hosts) {
      host.disarm();
      host.thaw();
    }
    healLink();
  }

  // ---- the story, for a failure

  void trace(Supplier<String> line) {
    if (trace != null) {
      trace.add(String.format("%10.3f ms  %s", now / 1e6, line.get()));
      if (trace.size() > TRACE_LINES) {
        trace.poll();
      }
    }
  }

  String story() {
    StringBuilder story = new StringBuilder();
    if (trace != null) {
      trace.forEach(line -> story.append(line).append('\n'));
    }
    for (Host host : hosts) {
      Host.Process process = host.process();
      story.append("host ").append(host.index()).append(host.isFrozen() ? " (frozen)" : "").append(": ")
          .append(process == null ? "down" : process.status()).append('\n');
    }
    return story.append("arbiter: generation ").append(arbiter.generation()).append(", host ").append(arbiter.holder()).append('\n')
        .append(config).append(strictFraming ? ", frames numbered" : ", frames not numbered").append('\n').toString();
  }
}
