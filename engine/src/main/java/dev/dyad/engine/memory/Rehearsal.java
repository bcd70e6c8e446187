package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.Reason;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Sends made-up pages of every form through encoder, checksum and replica, so that the JVM has compiled them, with all their branches, before a guest waits
 * for it. Without it the first seconds of protection run in the interpreter: a baseline meets none of the forms that an epoch has.
 *
 * <p>Once for each process, on a thread that has nothing else to do: some tenths of a second.
 */
public final class Rehearsal {
  private static final int PAGES = 64;
  private static final int ROUNDS = 800;
  private static final int FORMS = 4;
  private static final int CHANGED_WORDS = 24;
  private static final AtomicBoolean DONE = new AtomicBoolean();

  private Rehearsal() {}

  /** Does nothing when it was done before. */
  public static void run() {
    if (DONE.compareAndSet(false, true)) {
      rehearse();
    }
  }

  private static void rehearse() {
    long bytes = (long) PAGES * Pages.BYTES;
    int room = (int) (2 * bytes);
    GuestMemory layout = GuestMemory.builder().block("rehearsal", bytes).build(Pages.BYTES);
    try (Mapping guest = Mapping.anonymous(bytes);
        Mapping payload = Mapping.anonymous(room);
        Mapping standby = Mapping.anonymous(bytes + Pages.BYTES);
        LastSent lastSent = new LastSent(bytes)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      PageRecords records = new PageRecords(layout.pages());
      Replica replica = new Replica(layout, new long[] {standby.hostVirt(), standby.hostVirt() + bytes});
      Crc32c crc = new Crc32c(payload.hostVirt(), room);
      SplittableRandom random = new SplittableRandom(1);
      int checksums = 0;
      for (int round = 0; round < ROUNDS; round++) {
        encoder.begin(payload.hostVirt(), room);
        for (int page = 0; page < PAGES; page++) {
          long at = guest.hostVirt() + (long) page * Pages.BYTES;
          change(at, (page + round) % FORMS, random);
          encoder.add(page, at);
        }
        int length = encoder.end(0);
        checksums += crc.of(payload.hostVirt(), length);
        if (records.check(payload.hostVirt(), length) == Reason.NONE) {
          replica.applyPages(payload.hostVirt(), length);
        }
      }
      if (!Memory.equal(guest.hostVirt(), standby.hostVirt(), bytes)) {
        throw new IllegalStateException("made-up pages do not arrive as they were sent (checksums " + Integer.toHexString(checksums) + "): do not use this build");
      }
    }
  }

  /** Unchanged, zero, changed in a few words, or written anew. */
  private static void change(long page, int form, SplittableRandom random) {
    if (form == 1) {
      Memory.zero(page, Pages.BYTES);
    }
    int words = form == 2 ? CHANGED_WORDS : form == 3 ? Pages.BYTES / 8 : 0;
    for (int i = 0; i < words; i++) {
      Memory.putLong(page + 8L * (form == 3 ? i : random.nextInt(Pages.BYTES / 8)), random.nextLong());
    }
  }
}
