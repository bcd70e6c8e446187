package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.engine.link.ReplicaLink;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.ControlMessage;
import dev.dyad.engine.wire.ControlType;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameParser;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.HeartbeatFrame;
import dev.dyad.engine.wire.MachineFrame;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.ReasonFrame;
import dev.dyad.engine.wire.RefusedException;
import dev.dyad.engine.wire.Wire;
import org.jspecify.annotations.Nullable;

/**
 * The standby's end of the memory channel: checks what arrives, says when an epoch is whole, applies whole epochs to the replica when
 * it is told to, and sends acknowledgements.
 *
 * <p>Thread: the standby's ship thread. Allocates nothing after MEMORY. When to acknowledge and when to apply is the protocol's business.
 *
 * <p>The frames of an epoch stay where they arrived, in the link's ring, until the epoch is applied. If an open epoch fills half the ring, what
 * is there moves to the {@link EpochBuffer}, as soon as no earlier epoch waits to be applied; so an epoch may be larger than the ring, up
 * to a bound of its own. The baseline is applied as it arrives: until its seal the standby holds nothing that it could go on from.
 *
 * <p>The first frame that is wrong ends all: the primary and the listener are told why, nothing behind it is looked at, and the replica stays
 * as the last whole epoch made it.
 *
 * <p>Must never happen: a page of an epoch without its seal in the replica (but the baseline's); a frame read twice or skipped; an epoch
 * applied out of order.
 */
public final class EpochReader implements AutoCloseable {

  /** What arrived; called from {@link #poll}. */
  public interface Listener {
    /** The primary's machine. The array is the listener's. */
    void machine(int kind, byte[] description);

    /**
     * The primary's page space, and the epoch that its baseline will be sealed as. {@link EpochReader#attach} must follow, now or later: until then no
     * page is looked at.
     */
    void memory(GuestMemory memory, long epoch);

    /**
     * An epoch is whole; epochs come in order, each once.
     *
     * @param baseline it is the session's first and in the replica already
     * @param sentNanos goes back with the acknowledgement
     * @param stateBytes how much of the state block it uses
     */
    void whole(long epoch, boolean baseline, long sentNanos, int stateBytes);

    /** A heartbeat came; {@link EpochReader#echo} answers it. */
    void heartbeat(long sentNanos);

    /** The primary leaves in good order; nothing follows. */
    void bye(int reasonCode, long found, long needed);

    /** What arrived is refused; the primary has been told. Nothing follows. */
    void refused(Reason reason, long found, long needed);
  }

  /** Whole epochs that may wait to be applied; more stay in the ring, unlooked at. */
  static final int HELD_MAX = 64;

  private final ReplicaLink link;
  private final Listener listener;
  private final FrameParser parser;
  private final EpochBuffer buffer;
  private final EpochTotals totals = new EpochTotals();
  private final StandbyReplies replies;

  private @Nullable GuestMemory memory;
  private @Nullable Replica replica;
  private PageRecords records = new PageRecords(0);

  private boolean ended;
  private boolean parsed;
  private long scanned;
  private long openFrom;
  private boolean baselineWhole;

  // whole epochs that wait, oldest first
  private final long[] heldEpoch = new long[HELD_MAX];
  private final long[] heldFrom = new long[HELD_MAX];
  private final long[] heldTo = new long[HELD_MAX];
  private final int[] heldStateBytes = new int[HELD_MAX];
  private int heldFirst;
  private int held;
  private long bufferDone;
  private boolean applying;

  private long appliedEpoch = -1;
  private int appliedStateBytes;

  /**
   * @param link freshly up
   * @param generation the session's
   * @param epochBytesMax bound of an epoch's frames beyond what the ring holds
   * @param epochBytesKept how much of that stays allocated between epochs
   */
  public EpochReader(ReplicaLink link, long generation, long epochBytesMax, long epochBytesKept, Listener listener) {
    this.link = link;
    this.listener = listener;
    long ringBytes = link.ring().capacityBytes();
    parser = new FrameParser(new Crc32c(link.ring().baseVirt(), 2 * ringBytes), Wire.payloadBytesMax(ringBytes), generation);
    buffer = new EpochBuffer(epochBytesMax, epochBytesKept);
    replies = new StandbyReplies(link, generation);
  }

  /** Gives the replica that pages go to, after {@link Listener#memory}; its layout must be the announced one. It must hold nothing yet. */
  public void attach(Replica standby) {
    if (memory == null || !MemoryFrame.describesSame(memory, standby.layout())) {
      throw new IllegalArgumentException("the replica's blocks are not those that the primary announced");
    }
    replica = standby;
    records = new PageRecords(standby.layout().pages());
  }

  /**
   * Moves the link and looks at what arrived.
   *
   * @return amount of work done, 0 when idle
   */
  public int poll() {
    int work = link.poll() + replies.poll();
    while (!ended && held < HELD_MAX && next()) {
      work++;
    }
    if (!ended) {
      spill();
      releaseRead();
    }
    return work;
  }

  /** Handles one frame. @return false when there is none that could be handled now */
  private boolean next() {
    long frame = link.ring().address(scanned);
    if (!parsed) {
      switch (parser.parse(frame, link.received() - scanned)) {
        case INCOMPLETE -> {
          return false;
        }
        case REFUSED -> {
          refuse(parser.reason(), parser.found(), parser.needed());
          return false;
        }
        case FRAME -> parsed = true;
      }
    }
    if (replica == null && memory != null && (parser.type() == FrameType.PAGES || parser.type() == FrameType.SEAL)) {
      return false; // the machine is being built; the link's back-pressure holds the rest
    }
    parsed = false;
    take(frame);
    return !ended;
  }

  private void take(long frame) {
    long payload = FrameHeader.payload(frame);
    int length = FrameHeader.length(frame);
    switch (parser.type()) {
      case PAGES -> pages(frame, payload, length);
      case SEAL -> seal(frame, payload, length);
      case HEARTBEAT -> heartbeat(payload, length);
      case MACHINE -> machine(payload, length);
      case MEMORY -> memory(payload, length, FrameHeader.epoch(frame));
      case BYE -> bye(payload, length);
      case HELLO, CHALLENGE, PROOF, ACCEPT, REFUSE -> refuse(Reason.UNEXPECTED, parser.type().code(), 0);
    }
  }

  private void pages(long frame, long payload, int length) {
    Replica standby = replica;
    if (standby == null) {
      refuse(Reason.UNEXPECTED, FrameType.PAGES.code(), FrameType.MEMORY.code());
      return;
    }
    Reason wrong = records.check(payload, length);
    if (wrong != Reason.NONE) {
      refuse(wrong, records.found(), records.needed());
      return;
    }
    wrong = totals.add(FrameHeader.epoch(frame), payload, length, records.pages());
    if (wrong != Reason.NONE) {
      refuse(wrong, totals.found(), totals.needed());
      return;
    }
    if (!baselineWhole) {
      standby.applyPages(payload, length);
    }
    passed(frame);
  }

  private void seal(long frame, long payload, int length) {
    Replica standby = replica;
    if (standby == null) {
      refuse(Reason.UNEXPECTED, FrameType.SEAL.code(), FrameType.MEMORY.code());
      return;
    }
    Reason wrong = totals.seal(FrameHeader.epoch(frame), payload, length, standby.layout().state().bytes());
    if (wrong != Reason.NONE) {
      refuse(wrong, totals.found(), totals.needed());
      return;
    }
    long epoch = FrameHeader.epoch(frame);
    boolean baseline = !baselineWhole;
    passed(frame);
    hold(epoch, totals.stateBytes());
    baselineWhole = true;
    openFrom = scanned;
    listener.whole(epoch, baseline, totals.sentNanos(), totals.stateBytes());
  }

  private void hold(long epoch, int stateBytes) {
    int slot = (heldFirst + held) % HELD_MAX;
    heldEpoch[slot] = epoch;
    heldFrom[slot] = baselineWhole ? openFrom : scanned; // the baseline is in the replica already
    heldTo[slot] = scanned;
    heldStateBytes[slot] = stateBytes;
    held++;
  }

  private void heartbeat(long payload, int length) {
    if (length != HeartbeatFrame.BYTES) {
      refuse(Reason.TRUNCATED, length, HeartbeatFrame.BYTES);
      return;
    }
    long sentNanos = HeartbeatFrame.sentNanos(payload);
    scanned += parser.frameBytes();
    listener.heartbeat(sentNanos);
  }

  private void machine(long payload, int length) {
    Reason wrong = memory != null ? Reason.UNEXPECTED : MachineFrame.check(payload, length);
    if (wrong != Reason.NONE) {
      refuse(wrong, wrong == Reason.UNEXPECTED ? FrameType.MACHINE.code() : length, 0);
      return;
    }
    int kind = MachineFrame.kind(payload);
    byte[] description = MachineFrame.description(payload);
    scanned += parser.frameBytes();
    listener.machine(kind, description);
  }

  private void memory(long payload, int length, long epoch) {
    if (memory != null) {
      refuse(Reason.UNEXPECTED, FrameType.MEMORY.code(), FrameType.PAGES.code());
      return;
    }
    try {
      memory = MemoryFrame.decode(payload, length);
    } catch (RefusedException e) {
      Reason reason = Reason.of(e.code());
      refuse(reason == null ? Reason.TRUNCATED : reason, e.found(), e.needed());
      return;
    }
    scanned += parser.frameBytes();
    listener.memory(memory, epoch);
  }

  private void bye(long payload, int length) {
    if (length != ReasonFrame.BYTES) {
      refuse(Reason.TRUNCATED, length, ReasonFrame.BYTES);
      return;
    }
    scanned += parser.frameBytes();
    openFrom = scanned; // an epoch without its seal is thrown away
    ended = true;
    releaseRead();
    listener.bye(ReasonFrame.reason(payload), ReasonFrame.found(payload), ReasonFrame.needed(payload));
  }

  /** The frame belongs to the open epoch and stays in the ring, unless it is the baseline's. */
  private void passed(long frame) {
    scanned += FrameHeader.BYTES + FrameHeader.length(frame);
    if (!baselineWhole) {
      openFrom = scanned;
    }
  }

  /** Moves the open epoch out of the ring when it fills half of it. */
  private void spill() {
    long bytes = scanned - openFrom;
    if (held > 0 || bytes < link.ring().capacityBytes() / 2 || totals.isEmpty()) {
      return;
    }
    if (!buffer.append(link.ring().address(openFrom), bytes)) {
      refuse(Reason.EPOCH_BYTES, buffer.used() + bytes, buffer.bytesMax());
      return;
    }
    openFrom = scanned;
  }

  /** Lets the primary reuse what is not needed any more. */
  private void releaseRead() {
    if (totals.isEmpty() && buffer.used() == 0 && held == 0) {
      openFrom = scanned; // nothing of an open epoch: heartbeats and the like
    }
    link.release(held > 0 ? heldFrom[heldFirst] : openFrom);
    link.poll();
  }

  /** Number of whole epochs that wait to be applied. */
  public int waiting() {
    return held;
  }

  /**
   * Applies whole epochs, oldest first, up to {@code epoch}.
   *
   * @param budgetBytes stops after about this many bytes of frames, so that the caller can look after its heartbeats
   * @return true when all of them are applied
   */
  public boolean apply(long epoch, long budgetBytes) {
    Replica standby = replica;
    long left = budgetBytes;
    while (standby != null && held > 0 && heldEpoch[heldFirst] <= epoch) {
      if (left <= 0) {
        return false;
      }
      applying = true;
      left -= applySome(standby, left);
      if (bufferDone == buffer.used() && heldFrom[heldFirst] == heldTo[heldFirst]) {
        applied();
      }
    }
    return true;
  }

  private long applySome(Replica standby, long budget) {
    if (bufferDone < buffer.used()) {
      long done = standby.applyFrames(buffer.hostVirt() + bufferDone, buffer.used() - bufferDone, budget);
      bufferDone += done;
      return done;
    }
    long from = heldFrom[heldFirst];
    long done = standby.applyFrames(link.ring().address(from), heldTo[heldFirst] - from, budget);
    heldFrom[heldFirst] = from + done;
    return done;
  }

  private void applied() {
    appliedEpoch = heldEpoch[heldFirst];
    appliedStateBytes = heldStateBytes[heldFirst];
    heldFirst = (heldFirst + 1) % HELD_MAX;
    held--;
    bufferDone = 0;
    buffer.clear();
    applying = false;
    releaseRead();
  }

  /** The newest epoch that is in the replica; −1 before the baseline was applied. */
  public long appliedEpoch() {
    return appliedEpoch;
  }

  /** How much of the state block that epoch uses. */
  public int appliedStateBytes() {
    return appliedStateBytes;
  }

  /** Whether the replica is something to go on from: it holds the baseline, and no epoch is applied in part. */
  public boolean replicaIsWhole() {
    return appliedEpoch >= 0 && !applying;
  }

  /** Tells the primary that pages may come. */
  public void ready() {
    replies.ready(appliedEpoch);
  }

  /** Tells the primary that what it sent at {@code sentNanos} has arrived. */
  public void echo(long sentNanos) {
    replies.echo(appliedEpoch, sentNanos);
  }

  /** Tells the primary that all epochs up to {@code epoch} are whole here. */
  public void acknowledge(long epoch, long sentNanos) {
    replies.acknowledge(epoch, sentNanos);
  }

  /** Tells the primary that this side leaves in good order, or cannot go on; nothing more is looked at. */
  public void leave(Reason reason, long found, long needed) {
    ended = true;
    replies.leave(reason == Reason.SHUTDOWN || reason == Reason.FENCED ? ControlType.BYE : ControlType.REFUSE, appliedEpoch, reason, found, needed);
  }

  private void refuse(Reason reason, long found, long needed) {
    leave(reason, found, needed);
    listener.refused(reason, found, needed);
  }

  /** Frees what the reader itself has. Whole epochs that wait are lost with the link's ring. */
  @Override
  public void close() {
    buffer.close();
    replies.close();
  }
}
