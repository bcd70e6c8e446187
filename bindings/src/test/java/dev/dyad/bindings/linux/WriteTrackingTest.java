package dev.dyad.bindings.linux;

import static dev.dyad.bindings.abi.linux.linux_h.*;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.dyad.bindings.abi.linux.uffd_msg;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

class WriteTrackingTest {

  private static final int PAGES = 64;
  private static final int BYTES = PAGES * Mapping.PAGE_BYTES;
  private static final long ASYNC = UFFD_FEATURE_WP_ASYNC() | UFFD_FEATURE_WP_UNPOPULATED();

  private static void assumeAsync() {
    long features = Userfaultfd.supportedFeatures();
    assumeTrue(features >= 0, () -> "userfaultfd: " + Errno.name((int) -features));
    assumeTrue((features & ASYNC) == ASYNC, "the kernel has no WP_ASYNC (Linux 6.7)");
  }

  @Test
  void shouldFindExactlyThePagesWrittenSinceTheLastHarvest() {
    assumeAsync();
    try (Mapping memory = Mapping.anonymous(BYTES);
        Userfaultfd tracker = Userfaultfd.create(true);
        PagemapScan scan = PagemapScan.open(0, 16)) {
      long start = memory.hostVirt();
      long end = start + BYTES;
      assertEquals(-EPERM(), scan.harvest(start, end), "not registered yet");
      assertEquals(0, tracker.enable(ASYNC));
      assertEquals(0, tracker.register(start, BYTES, UFFDIO_REGISTER_MODE_WP()));
      assertEquals(0, tracker.protect(start, BYTES));
      assertEquals(0, scan.harvest(start, end));

      Memory.putByte(start + 3L * Mapping.PAGE_BYTES, (byte) 1);
      Memory.fill(start + 10L * Mapping.PAGE_BYTES, 3L * Mapping.PAGE_BYTES, (byte) 2);
      assertEquals(2, scan.peek(start, end), "looking protects nothing");
      assertEquals(2, scan.harvest(start, end));
      assertEquals(start + 3L * Mapping.PAGE_BYTES, scan.startVirt(0));
      assertEquals(start + 4L * Mapping.PAGE_BYTES, scan.endVirt(0));
      assertEquals(start + 10L * Mapping.PAGE_BYTES, scan.startVirt(1));
      assertEquals(start + 13L * Mapping.PAGE_BYTES, scan.endVirt(1));
      assertEquals(end, scan.walkEnd());
      assertEquals(0, scan.harvest(start, end), "protected again");

      Memory.putByte(start + 11L * Mapping.PAGE_BYTES, (byte) 3);
      assertEquals(1, scan.harvest(start, end));
      assertEquals(0, tracker.unregister(start, BYTES));
      assertEquals(-EPERM(), scan.harvest(start, end));
    }
  }

  @Test
  void shouldFindTheOnePageOfAHugePageThatWasWritten() {
    assumeAsync();
    long huge = 2L << 20;
    try (Mapping memory = Mapping.anonymousLarge(3 * huge);
        Userfaultfd tracker = Userfaultfd.create(true);
        PagemapScan scan = PagemapScan.open(0, 16)) {
      long start = (memory.hostVirt() + huge - 1) / huge * huge;
      Memory.fill(start, huge, (byte) 7);
      long end = start + 2 * huge; // the second one is not there yet
      assumeTrue(scan.scan(start, end, 0, PAGE_IS_HUGE()) == 1, "no transparent huge page was given");
      assertEquals(0, tracker.enable(ASYNC));
      assertEquals(0, tracker.register(start, 2 * huge, UFFDIO_REGISTER_MODE_WP()));
      assertEquals(0, tracker.protect(start, 2 * huge));
      assertEquals(0, scan.harvest(start, end));

      for (int round = 0; round < 3; round++) {
        long first = start + (17L + round) * Mapping.PAGE_BYTES;
        long second = start + huge + (5L + round) * Mapping.PAGE_BYTES;
        Memory.putByte(first + 9, (byte) 1);
        Memory.putByte(second, (byte) 1);
        assertEquals(2, scan.harvest(start, end), "round " + round);
        assertEquals(first, scan.startVirt(0));
        assertEquals(first + Mapping.PAGE_BYTES, scan.endVirt(0));
        assertEquals(second, scan.startVirt(1));
        assertEquals(second + Mapping.PAGE_BYTES, scan.endVirt(1));
        assertEquals(0, scan.harvest(start, end), "protected again");
      }
      assertEquals(7, Memory.getByte(start + 18L * Mapping.PAGE_BYTES + 10), "what was there before stays");
    }
  }

  @Test
  void shouldStopWhereTheListIsFullAndGoOnFromThere() {
    assumeAsync();
    try (Mapping memory = Mapping.anonymous(BYTES);
        Userfaultfd tracker = Userfaultfd.create(true);
        PagemapScan scan = PagemapScan.open(0, 4)) {
      long start = memory.hostVirt();
      assertEquals(0, tracker.enable(ASYNC));
      assertEquals(0, tracker.register(start, BYTES, UFFDIO_REGISTER_MODE_WP()));
      assertEquals(0, tracker.protect(start, BYTES));
      for (int page = 0; page < PAGES; page += 2) {
        Memory.putByte(start + (long) page * Mapping.PAGE_BYTES, (byte) 1);
      }
      int found = 0;
      int scans = 0;
      for (long from = start; from < start + BYTES; from = scan.walkEnd()) {
        int ranges = scan.harvest(from, start + BYTES);
        assertTrue(ranges >= 0 && ranges <= 4, "ranges " + ranges);
        found += ranges;
        scans++;
      }
      assertEquals(PAGES / 2, found);
      assertTrue(scans >= PAGES / 2 / 4, "scans " + scans);
    }
  }

  @Test
  void shouldHoldAWriterUntilItsPageIsUnprotected() throws InterruptedException {
    long features = Userfaultfd.supportedFeatures();
    assumeTrue(features >= 0 && (features & UFFD_FEATURE_PAGEFAULT_FLAG_WP()) != 0, "no write protection by userfaultfd");
    try (Mapping memory = Mapping.anonymous(BYTES);
        Mapping message = Mapping.anonymous(Mapping.PAGE_BYTES);
        Userfaultfd faults = Userfaultfd.create(true)) {
      long start = memory.hostVirt();
      Memory.fill(start, BYTES, (byte) 7);
      assertEquals(0, faults.enable(UFFD_FEATURE_PAGEFAULT_FLAG_WP()));
      assertEquals(0, faults.register(start, BYTES, UFFDIO_REGISTER_MODE_WP()));
      assertEquals(0, faults.protect(start, BYTES));
      CountDownLatch written = new CountDownLatch(1);
      Thread writer = Thread.ofPlatform().daemon().start(() -> {
        Memory.putByte(start + 5L * Mapping.PAGE_BYTES + 9, (byte) 8);
        written.countDown();
      });
      assertEquals(POLLIN(), Poll.once(faults.fd(), POLLIN(), 10_000));
      assertEquals(uffd_msg.sizeof(), faults.readMessages(message.hostVirt(), uffd_msg.sizeof()));
      var seen = Memory.view(message.hostVirt(), uffd_msg.sizeof());
      assertEquals(UFFD_EVENT_PAGEFAULT(), uffd_msg.event(seen));
      assertEquals(7, Memory.getByte(start + 5L * Mapping.PAGE_BYTES + 9), "the writer waits");
      assertEquals(0, faults.unprotect(start + 5L * Mapping.PAGE_BYTES, Mapping.PAGE_BYTES));
      written.await();
      writer.join();
      assertEquals(8, Memory.getByte(start + 5L * Mapping.PAGE_BYTES + 9));
      assertEquals(-EAGAIN(), faults.readMessages(message.hostVirt(), uffd_msg.sizeof()));
    }
  }
}
