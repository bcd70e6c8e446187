package dev.dyad.engine.epoch.sim;

import java.util.SplittableRandom;

/** One register: generation and holder. A host may be cut off from it, before or after its request took effect. */
final class SimArbiter {
  enum Verdict {
    GRANTED,
    DENIED,
    UNREACHABLE
  }

  interface Answer {
    void verdict(Verdict verdict);
  }

  private final World world;
  private final SplittableRandom random;
  private final long[] unreachableUntil = new long[2];
  private long generation;
  private int holder = -1;
  private int era;
  private long slowNanos = 1;

  SimArbiter(World world, SplittableRandom random) {
    this.world = world;
    this.random = random;
  }

  long generation() {
    return generation;
  }

  int holder() {
    return holder;
  }

  void cutOff(int host, long untilNanos) {
    unreachableUntil[host] = untilNanos;
  }

  boolean isReachable(int host) {
    return world.now() >= unreachableUntil[host];
  }

  /** Requests may take up to {@code nanos} longer, each way. */
  void slow(long nanos) {
    slowNanos = nanos;
  }

  boolean isHealthy() {
    return isReachable(0) && isReachable(1) && slowNanos == 1;
  }

  void heal() {
    unreachableUntil[0] = unreachableUntil[1] = 0;
    slowNanos = 1;
  }

  /** Forgets requests that are still on their way: they belong to a guest that is no more. */
  void startAnew() {
    era++;
  }

  void request(long wanted, int host, Answer answer) {
    long there = 20_000 + random.nextLong(100_000) + random.nextLong(slowNanos);
    long back = 20_000 + random.nextLong(100_000) + random.nextLong(slowNanos);
    int asked = era;
    boolean lost = !isReachable(host) && random.nextBoolean();
    world.after(there, () -> {
      if (asked != era) {
        return;
      }
      Verdict verdict = lost ? Verdict.UNREACHABLE : decide(wanted, host);
      boolean answerLost = !isReachable(host);
      world.after(back, () -> answer.verdict(answerLost ? Verdict.UNREACHABLE : verdict));
    });
  }

  private Verdict decide(long wanted, int host) {
    if (wanted == generation + 1) {
      generation = wanted;
      holder = host;
      world.trace(() -> "arbiter: generation " + wanted + " is host " + host + "'s");
      return Verdict.GRANTED;
    }
    return wanted == generation && holder == host ? Verdict.GRANTED : Verdict.DENIED;
  }
}
