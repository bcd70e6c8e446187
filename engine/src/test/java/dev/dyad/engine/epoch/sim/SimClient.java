package dev.dyad.engine.epoch.sim;

import java.util.HashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * Clients outside: each connection has one operation under way and repeats it until the reply comes. All replies together must
 * be one sequential history; it is replayed as far as it is known without gaps.
 */
final class SimClient {
  private record Done(Request op, Packet reply) {}

  private final World world;
  private final SplittableRandom random;
  private final @Nullable Request[] pending = new @Nullable Request[SimGuest.CONNECTIONS];
  private final long[] versionAtStart = new long[SimGuest.CONNECTIONS];
  private final long[] sequence = new long[SimGuest.CONNECTIONS];
  private final Map<Long, Done> known = new HashMap<>();
  private final long[] model = new long[SimGuest.KEYS];
  private long frontier;
  private long chain;
  private long newestVersion;
  private long replies;
  private boolean ended;

  SimClient(World world, SplittableRandom random) {
    this.world = world;
    this.random = random;
  }

  void start() {
    for (int c = 0; c < pending.length; c++) {
      next(c);
    }
  }

  /** Ends with its guest, whose loss was nobody's mistake. */
  void end() {
    ended = true;
  }

  long newestVersion() {
    return newestVersion;
  }

  long replies() {
    return replies;
  }

  void receive(Packet packet) {
    if (ended) {
      return;
    }
    int c = packet.connection();
    Request op = pending[c];
    if (packet.sequence() == 0) {
      throw new RuleBroken(Rule.LINEAR_HISTORY,
          "connection " + c + " is at operation " + sequence[c] + " but the guest knows only " + packet.result() + ": a reset");
    }
    if (op == null || packet.sequence() != op.sequence()) {
      return;
    }
    Done before = known.get(packet.version());
    if (packet.version() <= frontier || before != null) {
      throw new RuleBroken(Rule.LINEAR_HISTORY, op + " got version " + packet.version() + ", which is taken by " + before);
    }
    if (packet.version() <= versionAtStart[c]) {
      throw new RuleBroken(Rule.LINEAR_HISTORY,
          op + " got version " + packet.version() + " although " + versionAtStart[c] + " was acknowledged before it began");
    }
    newestVersion = Math.max(newestVersion, packet.version());
    known.put(packet.version(), new Done(op, packet));
    pending[c] = null;
    replies++;
    replay();
    world.after(random.nextLong(world.config().periodNanos()), () -> next(c));
  }

  private void replay() {
    for (Done done = known.remove(frontier + 1); done != null; done = known.remove(frontier + 1)) {
      frontier++;
      Request op = done.op();
      chain = Request.chain(chain, op, frontier);
      if (chain != done.reply().chain()) {
        throw new RuleBroken(Rule.LINEAR_HISTORY, "history up to version " + frontier + " is not the one that the guest has");
      }
      if (model[op.key()] != done.reply().result()) {
        throw new RuleBroken(Rule.LINEAR_HISTORY, op + " saw " + done.reply().result() + ", the history says " + model[op.key()]);
      }
      if (op.write()) {
        model[op.key()] = op.value();
      }
    }
  }

  private void next(int c) {
    long number = ++sequence[c];
    Request op = new Request(c, number, random.nextInt(3) > 0, random.nextInt(SimGuest.KEYS), random.nextLong());
    pending[c] = op;
    versionAtStart[c] = newestVersion;
    send(op);
  }

  private void send(Request op) {
    if (ended || !op.equals(pending[op.connection()])) {
      return;
    }
    world.sendToGuests(op);
    world.after(world.config().detectorNanos() / 4, () -> send(op));
  }
}
