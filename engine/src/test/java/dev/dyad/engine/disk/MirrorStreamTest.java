package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** When an epoch is full enough to be ended, when copies wait for that, and when the other side is told. */
class MirrorStreamTest {
  private static final int PIECE = 8 << 10;
  private static final long EPOCH_BYTES_MAX = 32 * PIECE;
  private static final int RING_BYTES = 1 << 20;

  /** A stream to another end that takes nothing, so what is written stays. */
  private static final class Ends implements AutoCloseable {
    private final Random random = new Random(5);
    private final SimLink forward = new SimLink(random, RING_BYTES);
    private final SimLink back = new SimLink(random, RING_BYTES);
    private final DiskChannel near = new DiskChannel(forward.sender, back.receiver, 1);
    private final DiskChannel far = new DiskChannel(back.sender, forward.receiver, 1);
    private final Mapping data = Mapping.anonymous(PIECE);
    private final MirrorStream stream = new MirrorStream(MirrorConfig.DEFAULT, 1);

    Ends(long epochBytesMax) {
      stream.attach(near);
      stream.begin(epochBytesMax);
    }

    @Override
    public void close() {
      stream.close();
      far.close();
      data.close();
    }
  }

  @Test
  void shouldAskForASealWhenCopiesHaveFilledExactlyTheirHalfOfTheEpoch() {
    try (Ends ends = new Ends(EPOCH_BYTES_MAX)) {
      MirrorStream stream = ends.stream;
      long copied = 0;
      while (stream.hasRoomForCopies()) {
        assertFalse(stream.isEpochLarge(), "with room left at " + copied);
        assertTrue(stream.data(copied, PIECE, ends.data.hostVirt()));
        copied += PIECE;
      }
      assertEquals(EPOCH_BYTES_MAX / 2, copied, "the ring is not what is full");
      assertTrue(stream.isEpochLarge(), "copies wait for a seal that nothing asks for");
      assertTrue(ends.far.isUp());
    }
  }

  /** A write goes to the image when the ring has room for it, and then it must get in. */
  @Test
  void shouldFindRoomForWhatItSaidItHasRoomFor() {
    for (long epochBytesMax : new long[] {EPOCH_BYTES_MAX, 4L * RING_BYTES}) { // the epoch's bound, the ring's
      try (Ends ends = new Ends(epochBytesMax)) {
        MirrorStream stream = ends.stream;
        int changes = 0;
        while (stream.hasRoomForChange(BlockDevice.WRITE, PIECE)) {
          assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, ends.data.hostVirt()));
          changes++;
        }
        assertFalse(stream.change(BlockDevice.WRITE, 0, PIECE, ends.data.hostVirt()), "after " + changes);
        assertTrue(changes >= Math.min(epochBytesMax, RING_BYTES) / PIECE - 6, "only " + changes);
        while (stream.hasRoomForChange(BlockDevice.DISCARD, PIECE)) {
          assertTrue(stream.change(BlockDevice.DISCARD, 0, PIECE, 0));
          changes++;
        }
        assertFalse(stream.change(BlockDevice.DISCARD, 0, PIECE, 0), "after " + changes);
        assertTrue(ends.far.isUp());
      }
    }
  }

  @Test
  void shouldTellOfWritesWhenThereAreManyAndOfAllThatWereWrittenWithTheirSeal() {
    try (Ends ends = new Ends(EPOCH_BYTES_MAX)) {
      MirrorStream stream = ends.stream;

      assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, ends.data.hostVirt()));
      assertEquals(0, ends.forward.published(), "the other side is woken for a single write");
      long written = ends.near.capacity() - ends.near.room();
      assertTrue(stream.seal(0, new RequestTable(8)));
      assertTrue(ends.forward.published() > written, "a seal that the other side is not told of, with all before it");

      stream.endEpoch();
      long sealed = ends.forward.published();
      for (int i = 0; i < RING_BYTES / 16 / PIECE; i++) {
        assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, ends.data.hostVirt()));
      }
      assertTrue(ends.forward.published() > sealed, "many writes that the other side is not told of");
      assertTrue(ends.far.isUp());
    }
  }
}
