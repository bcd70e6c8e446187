package dev.dyad.engine.epoch.sim;

import dev.dyad.engine.epoch.StandbyState;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The checker: knows what really happened on both hosts and objects as soon as it does not fit the promise. It believes nothing
 * that a protocol machine says of itself beyond which state it is in. What a client sees is {@link SimClient}'s matter, that protection comes back
 * is {@link World}'s, which alone knows when nothing is in its way.
 */
final class Rules {
  private static final int REMEMBERED = 4096;

  /** Facts of sealed epochs, the newest only. */
  private static final class Facts extends LinkedHashMap<Long, Long> {
    private static final long serialVersionUID = 1;

    @Override
    protected boolean removeEldestEntry(Map.Entry<Long, Long> eldest) {
      return size() > REMEMBERED;
    }
  }

  private final World world;
  private final Map<Long, Long> stateAtSeal = new Facts();
  private final Map<Long, Long> sumShipped = new Facts();
  private final Map<Long, Long> baselines = new Facts();
  /** Generation to the newest epoch that was whole at a standby, with all before it. */
  private final Map<Long, Long> wholeOnce = new HashMap<>();
  private long sealedEpochs;
  private long newestSealed;

  Rules(World world) {
    this.world = world;
  }

  long sealedEpochs() {
    return sealedEpochs;
  }

  long newestSealed() {
    return newestSealed;
  }

  private static long key(long generation, long epoch) {
    return (generation << 36) | epoch;
  }

  private void require(boolean holds, Rule rule, String what) {
    if (!holds && world.mutation().checksInside()) {
      throw new RuleBroken(rule, what);
    }
  }

  // ---- what happens

  void sealed(long generation, long epoch, long stateHash) {
    sealedEpochs++;
    newestSealed = Math.max(newestSealed, epoch);
    require(stateAtSeal.putIfAbsent(key(generation, epoch), stateHash) == null, Rule.EXACT_RESUME,
        "epoch " + epoch + " of generation " + generation + " was sealed twice");
  }

  void shipped(long generation, long epoch, long sum, boolean baseline) {
    sumShipped.put(key(generation, epoch), sum);
    if (baseline) {
      baselines.put(key(generation, epoch), epoch);
    }
  }

  /** A standby takes the epoch for whole. */
  void whole(long generation, long epoch, long sum) {
    Long shipped = sumShipped.get(key(generation, epoch));
    require(shipped != null && shipped == sum, Rule.NO_SILENT_LOSS,
        "epoch " + epoch + " of generation " + generation + " counts as whole at the standby and is not what was sent");
    if (baselines.containsKey(key(generation, epoch)) || epoch == wholeOnce(generation) + 1) {
      wholeOnce.put(generation, epoch);
    }
  }

  void applied(long generation, long epoch, long replicaHash) {
    Long truth = stateAtSeal.get(key(generation, epoch));
    require(truth != null && truth == replicaHash, Rule.EXACT_RESUME,
        "the replica after epoch " + epoch + " of generation " + generation + " is not the guest at that seal");
  }

  /** Rules 1 and 3, at the moment a packet leaves. */
  void packetLeaves(PrimaryNode from, long epoch) {
    long generation = from.generation();
    require(world.arbiter().holder() == from.host().index(), Rule.ONE_RUNNER,
        from + " lets output out while the newest generation is the other host's");
    if (!from.passes()) {
      require(wholeOnce(generation) >= epoch, Rule.OUTPUT_COMMIT,
          from + " releases epoch " + epoch + ", the standby never had more than " + wholeOnce(generation));
    }
    StandbyNode other = contender(from);
    if (other != null) {
      require(other.protocol().state() != StandbyState.ARBITRATING, Rule.ONE_RUNNER,
          from + " lets output out after " + other + " has asked for promotion");
      require(other.protocol().wholeEpoch() >= epoch, Rule.OUTPUT_COMMIT, from + " lets output of epoch " + epoch + " out, " + other
          + " could go on without it");
    }
  }

  void standbyAsks(StandbyNode standby) {
    require(standby.protocol().wholeEpoch() > 0, Rule.EXACT_RESUME, standby + " asks for promotion and holds nothing");
  }

  /** Rules 2 and 3, at the moment a standby goes on. */
  void promoted(int host, long heldGeneration, long generation, long epoch, long[] replica) {
    require(world.arbiter().holder() == host && world.arbiter().generation() == generation, Rule.ONE_RUNNER,
        "host " + host + " goes on under generation " + generation + ", which it does not hold");
    Long truth = stateAtSeal.get(key(heldGeneration, epoch));
    require(truth != null && truth == SimGuest.hash(replica), Rule.EXACT_RESUME,
        "host " + host + " goes on from a state that the guest never had at the seal of epoch " + epoch);
    require(epoch == wholeOnce(heldGeneration), Rule.EXACT_RESUME,
        "host " + host + " goes on from epoch " + epoch + ", its last whole one was " + wholeOnce(heldGeneration));
    require(SimGuest.version(replica) >= world.client().newestVersion(), Rule.OUTPUT_COMMIT,
        "a reply to operation " + world.client().newestVersion() + " was seen, the guest goes on at " + SimGuest.version(replica));
  }

  /** What must hold between any two events. */
  void afterEvent() {
    for (int i = 0; i < 2; i++) {
      if (world.host(i).process() instanceof PrimaryNode node && node.passes()) {
        StandbyNode other = contender(node);
        require(other == null, Rule.OUTPUT_COMMIT, node + " lets all output pass while " + other + " could take over");
        if (world.host(1 - i).process() instanceof PrimaryNode second) {
          require(!second.passes(), Rule.ONE_RUNNER, node + " and " + second + " both let output out");
        }
      }
    }
  }

  private @Nullable StandbyNode contender(PrimaryNode node) {
    return world.host(1 - node.host().index()).process() instanceof StandbyNode standby
            && standby.protocol().state().holdsWholeEpoch()
            && standby.heldGeneration() >= node.generation()
        ? standby
        : null;
  }

  private long wholeOnce(long generation) {
    return wholeOnce.getOrDefault(generation, 0L);
  }
}
