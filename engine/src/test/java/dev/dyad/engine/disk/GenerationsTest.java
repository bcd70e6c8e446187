package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.dyad.engine.disk.Generations.Relation;
import org.junit.jupiter.api.Test;

/** What two disks are to each other, by the identifiers of their data alone. */
class GenerationsTest {
  private static final Generations LEVEL = Generations.first(1);

  @Test
  void shouldCopyAllToADiskThatNeverHeldAnything() {
    assertEquals(Relation.FRESH, LEVEL.relationTo(Generations.NONE));
  }

  @Test
  void shouldCopyDifferencesToTheSideThatWasLeftBehind() {
    assertEquals(Relation.DIFFERENCES, LEVEL.alone(2).relationTo(LEVEL));
    assertEquals(Relation.DIFFERENCES, LEVEL.alone(2).alone(3).relationTo(LEVEL), "marks reach back to when they parted");
    assertEquals(Relation.DIFFERENCES, LEVEL.relationTo(LEVEL));
  }

  @Test
  void shouldRefuseToBeThePrimaryOfADiskThatWentOn() {
    assertEquals(Relation.AHEAD, LEVEL.relationTo(LEVEL.alone(2)));
    assertEquals(Relation.AHEAD, LEVEL.relationTo(LEVEL.alone(2).alone(3)));
    assertEquals(Relation.AHEAD, LEVEL.relationTo(LEVEL.alone(2).level()), "also when it has found another partner");
  }

  @Test
  void shouldLeaveItToAPersonWhenBothWentOn() {
    assertEquals(Relation.DIVERGED, LEVEL.alone(2).relationTo(LEVEL.alone(3)));
    assertEquals(Relation.DIVERGED, LEVEL.alone(2).alone(4).relationTo(LEVEL.alone(3)));
  }

  @Test
  void shouldCompareAllWithADiskFromBeforeTheMarks() {
    Generations levelledElsewhere = LEVEL.alone(2).level();
    assertEquals(Relation.OLDER, levelledElsewhere.relationTo(LEVEL));
    assertEquals(Relation.OLDER, levelledElsewhere.alone(3).relationTo(LEVEL));
  }

  @Test
  void shouldNotMistakeAStrangerForAPartner() {
    assertEquals(Relation.FOREIGN, LEVEL.relationTo(Generations.first(9)));
    assertEquals(Relation.FOREIGN, LEVEL.alone(2).relationTo(Generations.first(9).alone(8)));
  }

  @Test
  void shouldForgetWhatIsOlderThanItsHistory() {
    Generations old = LEVEL;
    for (int identifier = 2; identifier <= Generations.HISTORY + 2; identifier++) {
      old = old.alone(identifier).level();
    }
    assertEquals(Relation.FOREIGN, old.relationTo(LEVEL), "nothing is guessed");
  }
}
