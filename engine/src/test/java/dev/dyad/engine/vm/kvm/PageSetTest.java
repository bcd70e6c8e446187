package dev.dyad.engine.vm.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.engine.vm.DirtyPages;
import java.util.SplittableRandom;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class PageSetTest {
  private static final int PAGES = 1 << 18;

  /** Also more than are listed, with which the bitmap has to be walked. */
  @Test
  void shouldHoldEachPageOnceHoweverItCame() {
    SplittableRandom random = new SplittableRandom(8);
    PageSet set = new PageSet(PAGES);
    DirtyPages found = new DirtyPages(1 << 12);
    for (int amount : new int[] {1, 500, 70_000, 3, 1 << 17, 500}) {
      TreeSet<Long> expected = new TreeSet<>();
      long[] some = new long[64];
      for (int done = 0; done < amount; ) {
        int count = Math.min(amount - done, random.nextInt(1, some.length));
        for (int i = 0; i < count; i++) {
          some[i] = random.nextLong(PAGES);
          expected.add(some[i]);
        }
        set.addEach(some, count);
        done += count;
        if (random.nextInt(8) == 0) {
          set.add(some[0]);
        }
      }
      TreeSet<Long> given = new TreeSet<>();
      boolean complete;
      do {
        found.clear();
        complete = set.moveTo(found);
        for (int i = 0; i < found.runCount(); i++) {
          for (int j = 0; j < DirtyPages.pageCount(found.run(i)); j++) {
            assertTrue(given.add(DirtyPages.firstPage(found.run(i)) + j), "a page that was given before");
          }
        }
      } while (!complete);
      assertEquals(expected, given);
      assertTrue(set.isEmpty());
    }
  }
}
