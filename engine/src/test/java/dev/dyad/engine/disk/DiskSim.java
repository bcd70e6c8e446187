package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.engine.disk.DiskWorld.Mutation;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The mirrored disk over devices and links that fail in every way, many short lives under different seeds. */
class DiskSim {
  private static final long EPOCHS = Long.getLong("dyad.disk.epochs", 110_000);
  private static final long EPOCHS_PER_SEED = 1_000;

  @Test
  void shouldKeepBothDisksRightWhateverFails() {
    long only = Long.getLong("dyad.disk.seed", -1);
    if (only >= 0) {
      live(only);
      return;
    }
    long[] sums = new long[6];
    LongStream.rangeClosed(1, EPOCHS / EPOCHS_PER_SEED + 1)
        .parallel()
        .mapToObj(DiskSim::live)
        .forEachOrdered(
            one -> {
              for (int i = 0; i < sums.length; i++) {
                sums[i] += one[i];
              }
            });
    System.out.printf(
        "disk simulation: %d epochs, %d promotions, %d times level, %d comparisons at rest, %d image failures, %d power losses%n",
        sums[5], sums[0], sums[1], sums[2], sums[3], sums[4]);
    assertTrue(sums[5] >= 100_000 || EPOCHS < 100_000, "only " + sums[5] + " epochs");
    assertTrue(sums[0] > EPOCHS / 5000 && sums[1] > EPOCHS / 1000 && sums[2] > EPOCHS / 1000, "too little happened");
  }

  private static long[] live(long seed) {
    try (DiskWorld world = new DiskWorld(seed, Mutation.NONE, seed % 3 == 0)) {
      world.run(EPOCHS_PER_SEED);
      return new long[] {world.promotions, world.levels, world.equalChecks, world.takeovers, world.powerLosses, world.epochs};
    }
  }

  @ParameterizedTest
  @EnumSource(value = Mutation.class, mode = EnumSource.Mode.EXCLUDE, names = "NONE")
  void shouldCatchAFaultInTheEngine(Mutation mutation) {
    for (long seed = 1; seed <= 60; seed++) {
      try (DiskWorld world = new DiskWorld(seed, mutation, false)) {
        world.run(EPOCHS_PER_SEED);
      } catch (AssertionError | DiskRefusedException caught) {
        return;
      }
    }
    fail(mutation + " went unnoticed in 60 runs");
  }
}
