package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.LinkPair;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.Reason;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;

/**
 * A recorded stream of a whole session, to be damaged and fed to a reader in random pieces.
 *
 * <p>Whatever the damage: the reader says what is wrong or waits for more, throws nothing, and the replica is exactly what the last epoch made it that was
 * reported whole and applied. Damage with the checksum made right again gets behind the first check.
 */
final class FuzzedStream implements AutoCloseable {
  static final int EPOCHS = 4;
  private static final long RING_BYTES = 1 << 17;
  private static final long GENERATION = 3;

  private final TestMemory memory = new TestMemory();
  private final byte[] corpus;
  private final List<Integer> frames = new ArrayList<>();
  private final byte[][] standbyAfter = new byte[EPOCHS + 1][];
  private final Set<Reason> reasons = EnumSet.noneOf(Reason.class);
  private long applied;
  private byte[] afterApply = {};
  private boolean signed;

  FuzzedStream() {
    corpus = record();
  }

  byte[] corpus() {
    return corpus;
  }

  /** Newest epoch that the last feed applied; 0 for none. */
  long applied() {
    return applied;
  }

  int reasonsSeen() {
    return reasons.size();
  }

  /** Machine, memory, a baseline, three epochs with heartbeats between, bye. */
  private byte[] record() {
    Recorder events = new Recorder();
    try (LinkPair link = LinkPair.open(LinkPair.Kind.SHM, RING_BYTES);
        LastSent lastSent = new LastSent(128 * TestMemory.PAGE);
        EpochWriter writer = new EpochWriter(link.sender(), lastSent, GENERATION, 8192, events);
        EpochReader reader = new EpochReader(link.receiver(), GENERATION, 0, 0, events)) {
      writer.sendMachine(1, new byte[13]);
      writer.sendMemory(memory.layout);
      reader.poll();
      reader.attach(memory.replica());
      SplittableRandom random = new SplittableRandom(77);
      for (int page = 0; page < 10; page++) {
        memory.write(page, random);
      }
      memory.all();
      for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        writer.begin(epoch, epoch == 1);
        writer.startPages(memory.dirty, memory.copies.hostVirt());
        writer.shipPages();
        writer.heartbeat(epoch);
        writer.seal(100 * epoch, epoch);
        reader.poll();
        reader.apply(epoch, Long.MAX_VALUE);
        standbyAfter[epoch] = memory.standbyBytes();
        memory.run(random);
      }
      writer.bye(Reason.DETACHED, 0, 0);
      byte[] bytes = new byte[(int) writer.writtenBytes()];
      if (bytes.length > RING_BYTES || events.refused != Reason.NONE) {
        throw new IllegalStateException("the corpus does not fit its ring: " + bytes.length + " bytes, " + events.events);
      }
      Memory.copyTo(link.sender().ring().address(0), bytes, 0, bytes.length);
      for (int at = 0; at < bytes.length; at += FrameHeader.BYTES + FrameHeader.length(link.sender().ring().address(at))) {
        frames.add(at);
      }
      return bytes;
    }
  }

  /** One damaged stream; a violation names the seed. */
  void mutateAndFeed(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    byte[] bytes = corpus.clone();
    signed = false;
    for (int damages = random.nextInt(1, 4); damages > 0; damages--) {
      damage(bytes, random);
    }
    int length = random.nextInt(5) == 0 ? random.nextInt(bytes.length + 1) : bytes.length;
    try {
      reasons.add(feed(bytes, length, random));
    } catch (RuntimeException | AssertionError e) {
      throw new AssertionError("seed " + seed, e);
    }
  }

  private void damage(byte[] bytes, SplittableRandom random) {
    int frame = frames.get(random.nextInt(frames.size()));
    int length = frameBytes(frame);
    switch (random.nextInt(6)) {
      case 0 -> bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
      case 1 -> {
        int other = frames.get(random.nextInt(frames.size()));
        int count = Math.min(length, frameBytes(other));
        System.arraycopy(corpus, other, bytes, frame, count);
      }
      case 2 -> {
        int from = random.nextInt(bytes.length);
        Arrays.fill(bytes, from, Math.min(bytes.length, from + random.nextInt(200)), (byte) random.nextInt());
      }
      default -> { // behind the checksum: header fields, heads of payloads and records
        int at = random.nextInt(3) == 0 ? random.nextInt(8, FrameHeader.BYTES) : random.nextInt(FrameHeader.BYTES, Math.max(FrameHeader.BYTES + 1, Math.min(length, FrameHeader.BYTES + 64)));
        bytes[frame + Math.min(at, length - 1)] = (byte) (random.nextBoolean() ? random.nextInt() : bytes[frame + at] + 1);
        sign(bytes, frame, length);
      }
    }
  }

  private int frameBytes(int frame) {
    int next = frames.indexOf(frame) + 1;
    return (next < frames.size() ? frames.get(next) : corpus.length) - frame;
  }

  private void sign(byte[] bytes, int frame, int length) {
    signed = true;
    long scratch = memory.copies.hostVirt();
    Memory.copyFrom(bytes, frame, scratch, length);
    int crc = Crc32c.ofSmall(scratch + 8, length - 8);
    for (int i = 0; i < 4; i++) {
      bytes[frame + 4 + i] = (byte) (crc >>> (8 * i));
    }
  }

  /** Feeds the bytes in pieces. @return how it was refused, or NONE */
  Reason feed(byte[] bytes, int length, SplittableRandom random) {
    Memory.zero(memory.standby.hostVirt(), memory.pages * (long) TestMemory.PAGE);
    Recorder events = new Recorder();
    applied = 0;
    afterApply = new byte[0];
    try (ScriptedLink link = new ScriptedLink(RING_BYTES);
        EpochReader reader = new EpochReader(link, GENERATION, 1 << 20, 0, events)) {
      boolean attached = false;
      for (int at = 0; at < length && events.refused == Reason.NONE; ) {
        int piece = Math.min(length - at, random.nextInt(1, 20_000));
        link.arrive(bytes, at, piece);
        at += piece;
        reader.poll();
        GuestMemory announced = events.memory;
        if (announced != null && !attached) {
          attached = true;
          if (!MemoryFrame.describesSame(announced, memory.layout)) {
            return Reason.MEMORY; // another guest: its machine would not be built here
          }
          reader.attach(memory.replica());
          reader.poll();
        }
        if (events.whole > 0 && random.nextBoolean()) {
          applyAndCompare(reader, events);
        }
      }
      applyAndCompare(reader, events);
      return events.refused;
    }
  }

  /**
   * Frames of any type and payload, each with a right head, behind a whole session's start: type (1 byte), words of payload (1 byte), payload.
   */
  void feedFrames(byte[] script) {
    int start = frames.get(Math.min(framesOfStart(), frames.size() - 1));
    byte[] bytes = Arrays.copyOf(corpus, start + 20 * script.length + 2 * FrameHeader.BYTES);
    long scratch = memory.copies.hostVirt();
    long sequence = framesOfStart();
    int to = start;
    for (int at = 0; at + 2 <= script.length; sequence++) {
      int length = Math.min(8 * (script[at + 1] & 0xff), (script.length - at - 2) / 8 * 8);
      FrameHeader.write(scratch, FrameType.PAGES, length, GENERATION, 2 + ((script[at] >> 6) & 1), sequence);
      Memory.putByte(scratch + 10, (byte) (script[at] & 0x3f));
      Memory.copyFrom(script, at + 2, FrameHeader.payload(scratch), length);
      FrameHeader.close(scratch);
      Memory.copyTo(scratch, bytes, to, FrameHeader.BYTES + length);
      to += FrameHeader.BYTES + length;
      at += 2 + length;
    }
    signed = true;
    feed(bytes, Math.min(to, (int) RING_BYTES), new SplittableRandom(script.length));
  }

  /** Frames up to the baseline's seal. */
  private int framesOfStart() {
    int count = 0;
    while (corpus[frames.get(count) + 10] != FrameType.SEAL.code()) {
      count++;
    }
    return count + 1;
  }

  private void applyAndCompare(EpochReader reader, Recorder events) {
    if (events.whole < 0) {
      return; // not even the baseline: nothing that could be promoted
    }
    if (afterApply.length > 0 && !Arrays.equals(afterApply, memory.standbyBytes())) {
      throw new AssertionError("the replica changed behind epoch " + applied + ": " + events.events);
    }
    reader.apply(Long.MAX_VALUE, Long.MAX_VALUE);
    applied = reader.appliedEpoch();
    afterApply = memory.standbyBytes();
    if (applied != events.whole) {
      throw new AssertionError("epoch " + applied + " is applied, " + events.whole + " was reported whole: " + events.events);
    }
    if (!signed && !Arrays.equals(standbyAfter[(int) applied], afterApply)) {
      throw new AssertionError("the replica is not what epoch " + applied + " made it: " + events.events);
    }
  }

  @Override
  public void close() {
    memory.close();
  }
}
