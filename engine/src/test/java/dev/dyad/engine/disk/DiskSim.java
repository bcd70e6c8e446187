package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.dyad.engine.disk.DiskEvents.Kind;
import dev.dyad.engine.disk.DiskWorld.Mutation;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The mirrored disk over devices and links that fail in every way, many short lives under different seeds. */
class DiskSim {
  private static final long EPOCHS = Long.getLong("dyad.disk.epochs", 110_000);
  private static final long EPOCHS_PER_SEED = 1_000;

  /** Each kind of event happens at least once in that many epochs. */
  private static final long EPOCHS_PER_HAPPENING = 10_000;

  @Test
  void shouldKeepBothDisksRightWhateverFails() {
    long only = Long.getLong("dyad.disk.seed", -1);
    if (only >= 0) {
      live(only);
      return;
    }
    DiskEvents all = new DiskEvents();
    LongStream.rangeClosed(1, EPOCHS / EPOCHS_PER_SEED + 1).parallel().mapToObj(DiskSim::live).forEachOrdered(all::addAll);
    System.out.println("disk simulation: " + all);
    assertTrue(all.count(Kind.EPOCH) >= 100_000 || EPOCHS < 100_000, "too few epochs: " + all);
    for (Kind kind : Kind.values()) {
      assertTrue(all.count(kind) >= EPOCHS / EPOCHS_PER_HAPPENING, "too little happened: " + kind + " in " + all);
    }
    assertTrue(all.count(Kind.LEVEL) > EPOCHS / 1000 && all.count(Kind.COMPARED_AT_REST) > EPOCHS / 1000, "too little happened: " + all);
  }

  private static DiskEvents live(long seed) {
    try (DiskWorld world = new DiskWorld(seed, Mutation.NONE, seed % 3 == 0)) {
      world.run(EPOCHS_PER_SEED);
      return world.events;
    }
  }

  @ParameterizedTest
  @EnumSource(value = Mutation.class, mode = EnumSource.Mode.EXCLUDE, names = "NONE")
  void shouldCatchAFaultInTheEngine(Mutation mutation) {
    for (long seed = 1; seed <= 60; seed++) {
      boolean durable = mutation == Mutation.REPLAY_A_DROPPED_EPOCH || mutation == Mutation.REPLAY_AN_UNFLUSHED_LOG;
      try (DiskWorld world = new DiskWorld(seed, mutation, durable)) {
        world.run(EPOCHS_PER_SEED);
      } catch (AssertionError | DiskRefusedException caught) {
        return;
      }
    }
    fail(mutation + " went unnoticed in 60 runs");
  }
}
