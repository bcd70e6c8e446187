package dev.dyad.engine.link.rdma;

import dev.dyad.bindings.linux.FileDescriptor;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.link.StagingRing;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.function.LongSupplier;

/**
 * The receiving end over RDMA: the peer writes to {@link #ring}, this side learns positions from completions alone. With several queue
 * pairs each tells of its own stripes; what has arrived is the smallest position up to which none has a gap.
 */
public final class RdmaReplicaLink extends RdmaEnd implements ReplicaLink {
  private static final Logger LOG = System.getLogger("dyad.link");

  /** A position is told when it moved by this part of the ring, or when nothing arrives. */
  private static final int TELL_PART = 16;

  private final int stripeShift;

  /** Up to where the bytes of each queue pair's stripes are in place. */
  private final long[] told;

  private long received;
  private long released;
  private long releasedTold;
  private boolean messageFailed;
  private boolean fenced;

  RdmaReplicaLink(RdmaPort port, StagingRing ring, FileDescriptor socket, RdmaConfig config, LongSupplier clock) {
    super(port, ring, socket, config, clock);
    stripeShift = Integer.numberOfTrailingZeros(port.stripeBytes());
    told = new long[queuePairs];
  }

  @Override
  public long received() {
    return received;
  }

  @Override
  public void release(long position) {
    released = Math.max(released, position);
  }

  @Override
  void positionTold(int queuePair, int low) {
    long position = told[queuePair] + Integer.toUnsignedLong(low - (int) told[queuePair]);
    if (position == told[queuePair] || position > released + ring.capacityBytes()) {
      fail("the peer told position " + position + ", possible are " + (told[queuePair] + 1) + " to " + (released + ring.capacityBytes()));
      return;
    }
    told[queuePair] = position;
    long whole = Long.MAX_VALUE;
    for (int i = 0; i < queuePairs; i++) {
      whole = Math.min(whole, nextStripe(i, told[i]));
    }
    received = Math.max(received, whole);
  }

  /** The first position from {@code from} on that belongs to a queue pair. */
  private long nextStripe(int queuePair, long from) {
    if (queuePairs == 1) {
      return from;
    }
    long stripe = from >>> stripeShift;
    long steps = Math.floorMod(queuePair - stripe, (long) queuePairs);
    return steps == 0 ? from : (stripe + steps) << stripeShift;
  }

  @Override
  boolean messageArrived(long message, int slot) {
    if (RdmaMessage.hasControl(message)) {
      fail("the peer sent a control message, which only go the other way");
    }
    return false;
  }

  @Override
  int transfer(int workBefore) {
    long untold = released - releasedTold;
    if (untold > 0 && (untold >= ring.capacityBytes() / TELL_PART || workBefore == 0)) {
      messageFailed = !message(0, true);
      return messageFailed ? 0 : 1;
    }
    messageFailed = false;
    return 0;
  }

  @Override
  public boolean sendControl(long source) {
    return isUp() && message(source, true);
  }

  @Override
  long releasedToTell() {
    releasedTold = released;
    return released;
  }

  /** Once this returns, no write of the peer's reaches {@link #ring} any more, and the link is down. What was received stays readable. */
  @Override
  public void fence() {
    if (!isClosed() && !fenced) {
      fenced = true;
      fail("fenced: the peer's right to write was taken away");
      LOG.log(Level.INFO, "fenced: {0}", port.revoke());
    }
  }

  @Override
  public long activity() {
    return received;
  }

  @Override
  boolean waitsForSends() {
    return messageFailed;
  }
}
