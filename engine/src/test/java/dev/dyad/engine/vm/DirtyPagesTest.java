package dev.dyad.engine.vm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class DirtyPagesTest {
  @Test
  void shouldMakeTheSameRunsOfManySinglePagesAsOfOneAfterTheOther() {
    SplittableRandom random = new SplittableRandom(3);
    for (int round = 0; round < 200; round++) {
      int[] singles = new int[random.nextInt(1, 100)];
      for (int i = 0; i < singles.length; i++) {
        singles[i] = i > 0 && random.nextInt(3) > 0 ? singles[i - 1] + 1 : random.nextInt(1 << 28);
      }
      DirtyPages one = new DirtyPages(20);
      DirtyPages many = new DirtyPages(20);
      if (random.nextBoolean()) {
        assertTrue(one.add(singles[0] - 1L, 1) && many.add(singles[0] - 1L, 1)); // a run that is there already
      }
      int added = 0;
      while (added < singles.length && one.add(singles[added], 1)) {
        added++;
      }
      assertEquals(added, many.addEach(singles, singles.length));
      assertSame(one, many);
    }
  }

  @Test
  void shouldEndARunWhereItsNumberOfPagesEnds() {
    int[] singles = new int[(1 << 16) + 2];
    for (int i = 0; i < singles.length; i++) {
      singles[i] = 5 + i;
    }
    DirtyPages pages = new DirtyPages(2);
    assertEquals(singles.length, pages.addEach(singles, singles.length));
    assertEquals(2, pages.runCount());
    assertEquals(1 << 16, DirtyPages.pageCount(pages.run(0)));
    assertEquals(5 + (1 << 16), DirtyPages.firstPage(pages.run(1)));
    assertEquals(2, DirtyPages.pageCount(pages.run(1)));
  }

  private static void assertSame(DirtyPages one, DirtyPages other) {
    assertEquals(one.runCount(), other.runCount());
    assertEquals(one.pageCount(), other.pageCount());
    for (int i = 0; i < one.runCount(); i++) {
      assertEquals(one.run(i), other.run(i));
    }
  }
}
