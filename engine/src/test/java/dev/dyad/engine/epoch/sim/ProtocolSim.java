package dev.dyad.engine.epoch.sim;

import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Runs both protocol machines through many seeds. {@code -Ddyad.sim.seed=N} runs that seed alone, {@code -Ddyad.sim.epochs=N} that many epochs.
 */
final class ProtocolSim {
  private static final long EPOCHS_PER_SEED = 500;

  @Test
  void shouldKeepTheFiveRulesWhateverGoesWrong() {
    Long seed = Long.getLong("dyad.sim.seed");
    if (seed != null) {
      runSeed(seed, new Totals());
    } else {
      run(1, Long.getLong("dyad.sim.epochs", 120_000));
    }
  }

  @Test
  @Tag("soak")
  void shouldKeepTheFiveRulesForAsLongAsOneLikes() {
    run(System.nanoTime() >>> 8, Long.getLong("dyad.sim.epochs", 20_000_000));
  }

  private static void run(long firstSeed, long epochs) {
    Totals totals = new Totals();
    long began = System.nanoTime();
    long seed = firstSeed;
    while (totals.epochs < epochs) {
      runSeed(seed++, totals);
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    System.out.printf("simulated %,d epochs, %,d promotions, %,d replies, %,d guests lost by double faults; seeds %d..%d; %,.0f epochs/s%n",
        totals.epochs, totals.promotions, totals.replies, totals.lostGuests, firstSeed, seed - 1, totals.epochs / seconds);
    assertTrue(totals.promotions > epochs / 10_000, "almost no promotion: the simulation does not exercise what it should");
  }

  private static final class Totals {
    private long epochs;
    private long promotions;
    private long lostGuests;
    private long replies;
  }

  private static void runSeed(long seed, Totals totals) {
    World world = new World(seed, new Mutation(), false);
    try {
      world.run(EPOCHS_PER_SEED);
    } catch (RuntimeException | AssertionError broken) {
      throw new AssertionError(report(seed, broken), broken);
    }
    long[] figures = world.figures();
    totals.epochs += figures[0];
    totals.promotions += figures[1];
    totals.lostGuests += figures[2];
    totals.replies += figures[3];
  }

  private static String report(long seed, Throwable broken) {
    World again = new World(seed, new Mutation(), true);
    String story;
    try {
      again.run(EPOCHS_PER_SEED);
      story = "(did not happen again: the simulation is not deterministic)";
    } catch (RuntimeException | AssertionError same) {
      story = again.story();
    }
    return broken + "\nseed " + seed + ", the end of its story:\n" + story + "replay: mvn -q verify -pl engine -am -Dtest=ProtocolSim"
        + " -Dsurefire.failIfNoSpecifiedTests=false -Ddyad.sim.seed=" + seed;
  }
}
