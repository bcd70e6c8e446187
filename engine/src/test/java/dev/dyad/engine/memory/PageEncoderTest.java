package dev.dyad.engine.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.wire.PageRecord;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PageEncoderTest {
  private static final int PAGE = TestMemory.PAGE;
  private static final int ROOM = 1 << 17;

  private final TestMemory memory = new TestMemory();
  private final Mapping payload = Mapping.anonymous(ROOM);
  private final Replica replica = memory.replica();
  private final PageRecords records = new PageRecords(memory.layout.pages());

  @AfterEach
  void close() {
    memory.close();
    payload.close();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 4, 16, 128})
  void shouldMakeTheStandbyEqualWhateverTheCacheHolds(int cachePages) {
    try (LastSent lastSent = new LastSent(cachePages * (long) PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      SplittableRandom random = new SplittableRandom(cachePages);
      memory.all();
      ship(encoder);
      for (int epoch = 0; epoch < 2000; epoch++) {
        memory.run(random);
        ship(encoder);
        assertEquals(-1, memory.difference(), "epoch " + epoch);
      }
      assertTrue(encoder.rawPages() > 0 && encoder.zeroPages() > 0);
      if (cachePages > memory.pages) {
        assertTrue(encoder.deltaPages() > 0 && encoder.samePages() > 0);
      }
    }
  }

  @Test
  void shouldSendWholePagesAfterTheCacheWasCleared() {
    try (LastSent lastSent = new LastSent(128 * PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      SplittableRandom random = new SplittableRandom(7);
      memory.all();
      ship(encoder);
      for (int i = 0; i < 20; i++) {
        memory.run(random);
        encode(encoder, 0); // lost on its way: the standby never sees these
      }
      lastSent.clear();
      memory.all();
      ship(encoder);
      assertEquals(-1, memory.difference());
    }
  }

  @Test
  void shouldNoticeThatAnEpochWasLostIfTheCacheIsNotCleared() {
    try (LastSent lastSent = new LastSent(128 * PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      memory.all();
      ship(encoder);
      Memory.putLong(memory.guestVirt(3), 1);
      memory.all();
      encode(encoder, 0);
      memory.all();
      ship(encoder);
      assertEquals(3, memory.difference(), "this test shows that clearing is needed at all");
    }
  }

  @Test
  void shouldUseTheCheapestForm() {
    try (LastSent lastSent = new LastSent(128 * PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      fill(5, 1);
      fill(6, 2);
      only(5, 2);
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES + 2 * PAGE, encode(encoder, 0), "two pages share one record");
      Memory.putLong(memory.guestVirt(5) + 808, 77);
      only(5, 1);
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES + 8 + 8 + 8, encode(encoder, 0), "one word: lines, masks, word");
      only(5, 2);
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES, encode(encoder, 0), "unchanged: a count");
      Memory.zero(memory.guestVirt(5), 2 * PAGE);
      only(5, 2);
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES, encode(encoder, 0), "zero: a count");
      fill(5, 3);
      only(5, 1);
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES + PAGE, encode(encoder, 0), "all words differ: whole");
    }
  }

  @Test
  void shouldNeverSendADifferenceThatIsLargerThanItsBound() {
    try (LastSent lastSent = new LastSent(128 * PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      for (int words = 1; words <= 512; words++) {
        fill(5, words);
        only(5, 1);
        encode(encoder, 0);
        for (int i = 0; i < words; i++) {
          Memory.putLong(memory.guestVirt(5) + i * 8L, ~Memory.getLong(memory.guestVirt(5) + i * 8L));
        }
        only(5, 1);
        int bytes = encode(encoder, 0) - PagesFrame.BYTES - PageRecord.BYTES;
        int masks = 8 + ((words + 7) / 8 + 7) / 8 * 8;
        int expected = masks + words * 8 <= PageRecord.DELTA_BYTES_MAX ? masks + words * 8 : PAGE;
        assertEquals(expected, bytes, words + " words");
      }
    }
  }

  @Test
  void shouldSayThatAFrameIsFullAndGoOnInTheNext() {
    try (LastSent lastSent = new LastSent(PAGE)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      SplittableRandom random = new SplittableRandom(3);
      for (int page = 0; page < memory.pages; page++) {
        fill(page, random.nextLong());
      }
      encoder.begin(payload.hostVirt(), PageEncoder.ROOM_BYTES_MIN);
      assertTrue(encoder.add(0, memory.guestVirt(0)));
      assertFalse(encoder.add(1, memory.guestVirt(1)));
      assertEquals(PagesFrame.BYTES + PageRecord.BYTES + PAGE, encoder.end(0));
      assertEquals(1, encoder.pages());
    }
  }

  @Test
  void shouldRehearseEveryFormAndFindItSound() {
    Rehearsal.run();
  }

  // ---- helpers

  private void fill(int page, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    for (int i = 0; i < PAGE; i += 8) {
      Memory.putLong(memory.guestVirt(page) + i, random.nextLong() | 1);
    }
  }

  private void only(int page, int count) {
    memory.dirty.clear();
    memory.dirty.add(page, count);
    memory.copy();
  }

  /** Encodes what is dirty; all of it must fit one payload unless {@code flags} says to apply as it goes. */
  private int encode(PageEncoder encoder, int flags) {
    int bytes = 0;
    long source = memory.copies.hostVirt();
    encoder.begin(payload.hostVirt(), ROOM);
    for (int i = 0; i < memory.dirty.runCount(); i++) {
      long run = memory.dirty.run(i);
      for (int j = 0; j < DirtyPages.pageCount(run); j++, source += PAGE) {
        if (!encoder.add(DirtyPages.firstPage(run) + j, source)) {
          bytes += finish(encoder, flags);
          encoder.begin(payload.hostVirt(), ROOM);
          assertTrue(encoder.add(DirtyPages.firstPage(run) + j, source));
        }
      }
    }
    return bytes + finish(encoder, flags);
  }

  private int finish(PageEncoder encoder, int flags) {
    int bytes = encoder.end(0);
    assertEquals(Reason.NONE, records.check(payload.hostVirt(), bytes), () -> Reason.message(1, records.found(), records.needed()));
    assertEquals(encoder.pages(), records.pages());
    if (flags != 0) {
      replica.applyPages(payload.hostVirt(), bytes);
    }
    return bytes;
  }

  private void ship(PageEncoder encoder) {
    encode(encoder, 1);
  }
}
