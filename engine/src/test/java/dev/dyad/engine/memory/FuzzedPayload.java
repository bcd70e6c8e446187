package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.wire.MachineFrame;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.RefusedException;
import dev.dyad.engine.wire.Wire;
import java.util.SplittableRandom;

/**
 * Payloads right before a page that must not be touched. What the check finds good is applied to a replica that ends at such a page, too: nothing
 * may be read behind the payload, nothing written outside of the replica, and no exception may come but the defined refusal.
 */
final class FuzzedPayload implements AutoCloseable {
  private static final int LENGTH_MAX = 32 << 10;

  private final TestMemory memory = new TestMemory();
  private final TestMemory.Guarded guarded = new TestMemory.Guarded(LENGTH_MAX);
  private final PageRecords records = new PageRecords(memory.layout.pages());
  private final Replica replica = memory.replica();
  private final byte[] pages;
  private final byte[] layout = MemoryFrame.encode(memory.layout);
  private int good;
  private int refused;

  FuzzedPayload() {
    try (LastSent lastSent = new LastSent(128 * TestMemory.PAGE);
        Mapping buffer = Mapping.anonymous(LENGTH_MAX)) {
      PageEncoder encoder = new PageEncoder(lastSent);
      SplittableRandom random = new SplittableRandom(1);
      encoder.begin(buffer.hostVirt(), LENGTH_MAX);
      for (int i = 0; i < 60; i++) {
        int page = random.nextInt(12);
        memory.write(page, random);
        if (!encoder.add(page, memory.guestVirt(page))) {
          break;
        }
      }
      pages = new byte[encoder.end(0)];
      Memory.copyTo(buffer.hostVirt(), pages, 0, pages.length);
    }
  }

  void mutateAndCheck(long seed) {
    check(pagesLike(seed));
    SplittableRandom random = new SplittableRandom(seed);
    byte[] blocks = layout.clone();
    mutate(blocks, random);
    checkBlocks(blocks, random.nextInt(3) == 0 ? random.nextInt(blocks.length + 1) : blocks.length);
    byte[] machine = new byte[MachineFrame.BYTES + 8 * random.nextInt(4)];
    mutate(machine, random);
    checkMachine(machine);
  }

  private byte[] pagesLike(long seed) {
    SplittableRandom random = new SplittableRandom(~seed);
    byte[] bytes = pages.clone();
    if (random.nextInt(4) != 0) {
      mutate(bytes, random);
    }
    return bytes;
  }

  private static void mutate(byte[] bytes, SplittableRandom random) {
    for (int flips = random.nextInt(3); flips > 0; flips--) {
      bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
    }
    if (random.nextInt(4) == 0) {
      bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
    }
  }

  /** Any bytes as the payload of a PAGES frame, cut to a multiple of 8 as the frame's own check sees to it. */
  void check(byte[] bytes) {
    int length = Math.min(bytes.length, LENGTH_MAX) / Wire.ALIGN * Wire.ALIGN;
    long payload = guarded.place(bytes, length);
    if (records.check(payload, length) == Reason.NONE) {
      good++;
      replica.applyPages(payload, length);
    } else {
      refused++;
    }
    if (length > PagesFrame.BYTES) {
      int tail = Math.min(length - PagesFrame.BYTES, 4096);
      PageDelta.bytesNeeded(payload + length - tail, tail);
    }
  }

  void checkBlocks(byte[] bytes, int length) {
    try {
      MemoryFrame.decode(guarded.place(bytes, length), length);
      good++;
    } catch (RefusedException e) {
      refused++;
    }
  }

  void checkMachine(byte[] bytes) {
    int length = Math.min(bytes.length, LENGTH_MAX);
    long payload = guarded.place(bytes, length);
    if (MachineFrame.check(payload, length) == Reason.NONE) {
      MachineFrame.description(payload);
    }
  }

  int good() {
    return good;
  }

  int refused() {
    return refused;
  }

  @Override
  public void close() {
    guarded.close();
    memory.close();
  }
}
