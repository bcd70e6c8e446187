package dev.dyad.engine.disk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.dyad.bindings.linux.Mapping;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** When an epoch is full enough to be ended, and when copies wait for that. */
class MirrorStreamTest {
  private static final int PIECE = 8 << 10;
  private static final long EPOCH_BYTES_MAX = 32 * PIECE;
  private static final int RING_BYTES = 1 << 20;

  @Test
  void shouldAskForASealWhenCopiesHaveFilledExactlyTheirHalfOfTheEpoch() {
    Random random = new Random(5);
    SimLink forward = new SimLink(random, RING_BYTES);
    SimLink back = new SimLink(random, RING_BYTES);
    try (Mapping data = Mapping.anonymous(PIECE);
        DiskChannel near = new DiskChannel(forward.sender, back.receiver, 1);
        DiskChannel far = new DiskChannel(back.sender, forward.receiver, 1)) {
      MirrorStream stream = new MirrorStream(MirrorConfig.DEFAULT, 1);
      stream.attach(near);
      stream.begin(EPOCH_BYTES_MAX);
      long copied = 0;
      while (stream.hasRoomForCopies()) {
        assertFalse(stream.isEpochLarge(), "with room left at " + copied);
        assertTrue(stream.data(copied, PIECE, data.hostVirt()));
        copied += PIECE;
      }
      assertEquals(EPOCH_BYTES_MAX / 2, copied, "the ring is not what is full");
      assertTrue(stream.isEpochLarge(), "copies wait for a seal that nothing asks for");
      assertTrue(far.isUp());
    }
  }

  /** A write goes to the image when the ring has room for it, and then it must get in. */
  @Test
  void shouldFindRoomForWhatItSaidItHasRoomFor() {
    for (long epochBytesMax : new long[] {EPOCH_BYTES_MAX, 4L * RING_BYTES}) { // the epoch's bound, the ring's
      Random random = new Random(5);
      SimLink forward = new SimLink(random, RING_BYTES);
      SimLink back = new SimLink(random, RING_BYTES);
      try (Mapping data = Mapping.anonymous(PIECE);
          DiskChannel near = new DiskChannel(forward.sender, back.receiver, 1);
          DiskChannel far = new DiskChannel(back.sender, forward.receiver, 1)) {
        MirrorStream stream = new MirrorStream(MirrorConfig.DEFAULT, 1);
        stream.attach(near);
        stream.begin(epochBytesMax);
        int changes = 0;
        while (stream.hasRoomForChange(BlockDevice.WRITE, PIECE)) {
          assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, data.hostVirt()));
          changes++;
        }
        assertFalse(stream.change(BlockDevice.WRITE, 0, PIECE, data.hostVirt()), "after " + changes);
        assertTrue(changes >= Math.min(epochBytesMax, RING_BYTES) / PIECE - 6, "only " + changes);
        while (stream.hasRoomForChange(BlockDevice.DISCARD, PIECE)) {
          assertTrue(stream.change(BlockDevice.DISCARD, 0, PIECE, 0));
          changes++;
        }
        assertFalse(stream.change(BlockDevice.DISCARD, 0, PIECE, 0), "after " + changes);
        assertTrue(far.isUp());
      }
    }
  }

  @Test
  void shouldTellOfWritesWhenThereAreManyAndOfAllThatWereWrittenWithTheirSeal() {
    Random random = new Random(5);
    SimLink forward = new SimLink(random, RING_BYTES);
    SimLink back = new SimLink(random, RING_BYTES);
    try (Mapping data = Mapping.anonymous(PIECE);
        DiskChannel near = new DiskChannel(forward.sender, back.receiver, 1);
        DiskChannel far = new DiskChannel(back.sender, forward.receiver, 1)) {
      MirrorStream stream = new MirrorStream(MirrorConfig.DEFAULT, 1);
      stream.attach(near);
      stream.begin(EPOCH_BYTES_MAX);

      assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, data.hostVirt()));
      assertEquals(0, forward.published(), "the other side is woken for a single write");
      long written = near.capacity() - near.room();
      assertTrue(stream.seal(0, new RequestTable(8)));
      assertTrue(forward.published() > written, "a seal that the other side is not told of, with all before it");

      stream.endEpoch();
      long sealed = forward.published();
      for (int i = 0; i < RING_BYTES / 16 / PIECE; i++) {
        assertTrue(stream.change(BlockDevice.WRITE, 0, PIECE, data.hostVirt()));
      }
      assertTrue(forward.published() > sealed, "many writes that the other side is not told of");
      assertTrue(far.isUp());
    }
  }
}
