package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.link.StagingRing;
import java.util.function.LongSupplier;

/**
 * The sending end over RDMA: pieces of the ring are written to the same positions of the peer's ring; the last of each batch tells the
 * position reached. Pieces do not run over the ring's end, because only one of its two mappings is registered: half the pinned pages
 * and half the NIC's translations, for one more request a round.
 *
 * <p>Bytes may be written anew once the peer has let go of them, also if our NIC has not reported the send as finished: should it
 * send such a piece again, the peer's NIC has executed it already and discards the duplicate.
 */
public final class RdmaReplicationLink extends RdmaEnd implements ReplicationLink {
  /** Bytes of one work request: enough to be cheap, and small beside what travels in a beat. */
  private static final int PIECE_BYTES_MAX = 1 << 16;

  /** Bytes that the peer hears of at once. */
  private static final int BATCH_BYTES_MAX = 1 << 19;

  /** While so many sends are under way, less than so many bytes wait for more: each telling costs the peer a completion. */
  private static final int GATHER_SENDS = 4;

  private static final int GATHER_BYTES = 1 << 15;

  private final int stripeBytes;
  private final int stripeShift;
  private final long[] pieceAt;
  private final int[] pieceBytes;
  private final int[] keptSlots;

  private long published;
  private long sent;
  private long released;
  private long arrived;
  private long kept;
  private long given;
  private boolean heldBack;

  RdmaReplicationLink(RdmaPort port, StagingRing ring, FileDescriptor socket, RdmaConfig config, LongSupplier clock) {
    super(port, ring, socket, config, clock);
    stripeBytes = port.stripeBytes();
    stripeShift = Integer.numberOfTrailingZeros(stripeBytes);
    pieceAt = new long[queuePairs];
    pieceBytes = new int[queuePairs];
    keptSlots = new int[config.receives()];
  }

  @Override
  public long released() {
    return released;
  }

  @Override
  public void publish(long position) {
    published = position;
  }

  @Override
  int transfer(int workBefore) {
    heldBack = published > sent && published - sent < GATHER_BYTES && posted[0] - finished[0] >= GATHER_SENDS;
    if (heldBack) {
      return 0;
    }
    long at = sent;
    long end = Math.min(published, sent + BATCH_BYTES_MAX);
    while (at < end) {
      int queuePair = queuePairs == 1 ? 0 : (int) ((at >>> stripeShift) % queuePairs);
      boolean first = pieceBytes[queuePair] == 0;
      if (!hasRoom(queuePair, first ? 1 : 2) || (first && !hasCredit(queuePair))) {
        break;
      }
      if (!first) {
        int count = posted[queuePair]++;
        port.write(queuePair, pieceAt[queuePair], pieceBytes[queuePair], count, reports(count));
      }
      pieceAt[queuePair] = at;
      pieceBytes[queuePair] = pieceBytes(at, end);
      at += pieceBytes[queuePair];
    }
    heldBack = at < end;
    if (at == sent) {
      return 0;
    }
    sent = at;
    tell();
    return 1;
  }

  private int pieceBytes(long at, long end) {
    long capacity = ring.capacityBytes();
    long bytes = Math.min(Math.min(end - at, PIECE_BYTES_MAX), capacity - (at & (capacity - 1)));
    return (int) (queuePairs == 1 ? bytes : Math.min(bytes, stripeBytes - (at & (stripeBytes - 1))));
  }

  private void tell() {
    for (int i = 0; i < queuePairs; i++) {
      if (pieceBytes[i] > 0) {
        port.writeAndTell(i, pieceAt[i], pieceBytes[i], (int) sent, posted[i]++);
        useCredit(i);
        pieceBytes[i] = 0;
        post(i);
      }
    }
  }

  @Override
  void positionTold(int queuePair, int low) {
    fail("the peer wrote to a ring that is ours");
  }

  @Override
  boolean messageArrived(long message, int slot) {
    long position = RdmaMessage.released(message);
    if (position < released || position > sent) {
      fail("the peer let go of position " + position + ", possible are " + released + " to " + sent);
      return false;
    }
    boolean isControl = RdmaMessage.hasControl(message);
    if (isControl || position != released) {
      arrived++;
    }
    released = position;
    if (isControl) {
      keptSlots[(int) (kept++ % keptSlots.length)] = slot;
    }
    return isControl;
  }

  @Override
  public boolean receiveControl(long destination) {
    if (isClosed() || given == kept) {
      return false;
    }
    int slot = keptSlots[(int) (given++ % keptSlots.length)];
    Memory.copy(RdmaMessage.control(port.incoming(slot)), destination, CONTROL_BYTES);
    if (isUp()) {
      giveBack(0, slot);
    }
    return true;
  }

  @Override
  long releasedToTell() {
    return 0;
  }

  @Override
  public long activity() {
    return arrived;
  }

  @Override
  boolean waitsForSends() {
    return heldBack;
  }
}
