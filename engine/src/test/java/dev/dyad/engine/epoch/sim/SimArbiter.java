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

  void heal() {
    unreachableUntil[0] = unreachableUntil[1] = 0;
  }

  /** Forgets requests that are still on their way: they belong to a guest that is no more. */
  void startAnew() {
    era++;
  }

  void request(long wanted, int host, Answer answer) {
    long there = 20_000 + random.nextLong(100_000);
    long back = 20_000 + random.nextLong(100_000);
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
