package dev.dyad.engine.memory;

import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.link.ReplicationLink;
import dev.dyad.engine.vm.DirtyPages;
import dev.dyad.engine.vm.GuestMemory;
import dev.dyad.engine.wire.ControlMessage;
import dev.dyad.engine.wire.ControlType;
import dev.dyad.engine.wire.Crc32c;
import dev.dyad.engine.wire.FrameHeader;
import dev.dyad.engine.wire.FrameType;
import dev.dyad.engine.wire.HeartbeatFrame;
import dev.dyad.engine.wire.MachineFrame;
import dev.dyad.engine.wire.PagesFrame;
import dev.dyad.engine.wire.Reason;
import dev.dyad.engine.wire.ReasonFrame;
import dev.dyad.engine.wire.SealFrame;
import dev.dyad.engine.wire.Wire;

/**
 * The primary's end of the memory channel: writes frames straight into the link's ring and tells what comes back.
 *
 * <p>Thread: ship. Allocates nothing after the start ({@link #sendMemory} and {@link #sendMachine} belong to the start). Every method that
 * writes returns false, with nothing lost, when the ring is full: {@link #poll}, then call it again. When anything is to be done is the
 * protocol's business; this class only knows how it is written.
 *
 * <pre>
 *   sendMachine sendMemory … ready
 *   begin(e, baseline)  { startPages, shipPages… }*  seal      (as often as there are epochs; heartbeats anywhere)
 *   bye
 * </pre>
 *
 * <p>Owns neither link nor cache. After the link is lost, the cache of last sent pages is void ({@link LastSent#clear}, or a new one)
 * and the next writer starts with a baseline.
 */
public final class EpochWriter implements AutoCloseable {

  /** What comes back from the standby; called from {@link #poll}. */
  public interface Listener {
    /** The standby has built its machine and takes pages. */
    void ready();

    /**
     * Every epoch up to {@code epoch} is whole at the standby.
     *
     * @param sentNanos what was given to that epoch's seal
     */
    void acknowledged(long epoch, long sentNanos);

    /** The answer to the heartbeat that was sent at {@code sentNanos}. */
    void echoed(long sentNanos);

    /** The standby leaves in good order. */
    void bye(int reasonCode);

    /** The standby cannot take what it got: the line is {@link Reason#message(int, long, long)}. */
    void refused(int reasonCode, long found, long needed);

    /** What came from the standby is malformed; this side stops listening. */
    void malformed(Reason reason);
  }

  private final ReplicationLink link;
  private final PageEncoder encoder;
  private final long generation;
  private final int payloadBytes;
  private final Listener listener;
  private final Crc32c crc;
  private final Mapping controlBuffer = Mapping.anonymous(Mapping.PAGE_BYTES);

  private long position;
  private long sequence;
  private long controlSequence;
  private boolean deaf;

  // the open epoch
  private long epoch;
  private int flags;
  private long epochPages;
  private long epochBytes;
  private long epochFrames;

  // what shipPages has yet to do
  private DirtyPages pages = new DirtyPages(1);
  private long source;
  private int run;
  private int pageInRun;

  /**
   * @param link freshly up, nothing published
   * @param lastSent empty; used by nobody else while this writer lives
   * @param generation the session's
   * @param payloadBytesWanted size of PAGES frames: large ones cost less, small ones travel sooner; at most a quarter of the ring
   */
  public EpochWriter(ReplicationLink link, LastSent lastSent, long generation, int payloadBytesWanted, Listener listener) {
    this.link = link;
    this.encoder = new PageEncoder(lastSent);
    this.generation = generation;
    this.listener = listener;
    long ringBytes = link.ring().capacityBytes();
    payloadBytes = Math.max(PageEncoder.ROOM_BYTES_MIN, Math.min(payloadBytesWanted, Wire.payloadBytesMax(ringBytes)));
    crc = new Crc32c(link.ring().baseVirt(), 2 * ringBytes);
  }

  /** Describes the machine to be built. @return false when the ring is full */
  public boolean sendMachine(int kind, byte[] description) {
    int length = MachineFrame.BYTES + Wire.aligned(description.length);
    int bytesMax = Wire.payloadBytesMax(link.ring().capacityBytes());
    if (length > bytesMax) {
      throw new IllegalArgumentException("a machine's description of " + description.length + " bytes: the ring takes " + (bytesMax - MachineFrame.BYTES));
    }
    long frame = claim(length);
    if (frame == 0) {
      return false;
    }
    MachineFrame.write(FrameHeader.payload(frame), kind, description);
    send(frame, FrameType.MACHINE, length);
    return true;
  }

  /** Describes the flat page space. @return false when the ring is full */
  public boolean sendMemory(GuestMemory memory) {
    byte[] payload = MemoryFrame.encode(memory);
    long frame = claim(payload.length);
    if (frame == 0) {
      return false;
    }
    Memory.copyFrom(payload, 0, FrameHeader.payload(frame), payload.length);
    send(frame, FrameType.MEMORY, payload.length);
    return true;
  }

  /**
   * Opens an epoch: what is shipped from now on belongs to it. Writes nothing.
   *
   * @param number one more than the last; any for the first
   * @param baseline the first epoch of a session, and only that: the standby may apply it as it arrives
   */
  public void begin(long number, boolean baseline) {
    epoch = number;
    flags = baseline ? PagesFrame.BASELINE : 0;
    epochPages = 0;
    epochBytes = 0;
    epochFrames = 0;
  }

  /**
   * Hands over pages to be shipped; {@link #shipPages} does it. Both must stay as they are until that returned true.
   *
   * @param copied the pages, in the order of their copies
   * @param copies address of {@code copied.pageCount()} × 4 KiB, as by {@code Hypervisor.copyPages}
   */
  public void startPages(DirtyPages copied, long copies) {
    pages = copied;
    source = copies;
    run = 0;
    pageInRun = 0;
  }

  /**
   * Encodes and publishes as much as the ring takes.
   *
   * @return true when all of it is in the ring
   */
  public boolean shipPages() {
    while (run < pages.runCount()) {
      long frame = claim(payloadBytes);
      if (frame == 0) {
        return false;
      }
      encoder.begin(FrameHeader.payload(frame), payloadBytes);
      fill();
      int length = encoder.end(flags);
      epochPages += encoder.pages();
      epochBytes += length;
      epochFrames++;
      send(frame, FrameType.PAGES, length);
      link.poll();
    }
    return true;
  }

  /** Adds pages to the encoder's payload until it is full or all are in. */
  private void fill() {
    for (; run < pages.runCount(); run++, pageInRun = 0) {
      long first = DirtyPages.firstPage(pages.run(run));
      int count = DirtyPages.pageCount(pages.run(run));
      for (; pageInRun < count; pageInRun++) {
        if (!encoder.add(first + pageInRun, source)) {
          return;
        }
        source += Pages.BYTES;
      }
    }
  }

  /**
   * Ends the open epoch.
   *
   * @param stateBytes how much of the state block is used
   * @param sentNanos comes back with the acknowledgement
   * @return false when the ring is full
   */
  public boolean seal(int stateBytes, long sentNanos) {
    long frame = claim(SealFrame.BYTES);
    if (frame == 0) {
      return false;
    }
    SealFrame.write(FrameHeader.payload(frame), epochPages, epochBytes, epochFrames, sentNanos, stateBytes, flags);
    send(frame, FrameType.SEAL, SealFrame.BYTES);
    link.poll();
    return true;
  }

  /**
   * @param sentNanos comes back with the echo
   * @return false when the ring is full
   */
  public boolean heartbeat(long sentNanos) {
    long frame = claim(HeartbeatFrame.BYTES);
    if (frame == 0) {
      return false;
    }
    HeartbeatFrame.write(FrameHeader.payload(frame), sentNanos);
    send(frame, FrameType.HEARTBEAT, HeartbeatFrame.BYTES);
    link.poll();
    return true;
  }

  /** Says that nothing follows, and why. It has arrived when {@link #delivered}. @return false when the ring is full */
  public boolean bye(Reason reason, long found, long needed) {
    long frame = claim(ReasonFrame.BYTES);
    if (frame == 0) {
      return false;
    }
    ReasonFrame.write(FrameHeader.payload(frame), reason, found, needed);
    send(frame, FrameType.BYE, ReasonFrame.BYTES);
    link.poll();
    return true;
  }

  /** Whether the standby has let go of all that was written: it has read it and needs it no longer. */
  public boolean delivered() {
    return link.released() == position;
  }

  /** Bytes written that the standby has not let go of. */
  public long inFlightBytes() {
    return position - link.released();
  }

  /** Bytes that this writer has put into the ring. */
  public long writtenBytes() {
    return position;
  }

  /** How pages were encoded so far. */
  public PageEncoder encoder() {
    return encoder;
  }

  /**
   * Moves the link and reports what came back.
   *
   * @return amount of work done, 0 when idle
   */
  public int poll() {
    int work = link.poll();
    long message = controlBuffer.hostVirt();
    while (!deaf && link.receiveControl(message)) {
      Reason wrong = ControlMessage.check(message, generation, controlSequence);
      if (wrong == Reason.NONE) {
        controlSequence++;
        dispatch(message);
      } else {
        deaf = true;
        listener.malformed(wrong);
      }
      work++;
    }
    return work;
  }

  private void dispatch(long message) {
    ControlType type = ControlType.of(ControlMessage.typeCode(message));
    if (type == null) {
      return; // excluded by the check
    }
    switch (type) {
      case READY -> listener.ready();
      case ACK -> listener.acknowledged(ControlMessage.epoch(message), ControlMessage.echoNanos(message));
      case ECHO -> listener.echoed(ControlMessage.echoNanos(message));
      case BYE -> listener.bye(ControlMessage.reason(message));
      case REFUSE -> listener.refused(ControlMessage.reason(message), ControlMessage.found(message), ControlMessage.needed(message));
    }
  }

  /** Address of the next frame with room for {@code length} bytes of payload, or 0 when the ring is full. */
  private long claim(int length) {
    long end = position + FrameHeader.BYTES + length;
    if (end > link.released() + link.ring().capacityBytes()) {
      link.poll();
      if (end > link.released() + link.ring().capacityBytes()) {
        return 0;
      }
    }
    return link.ring().address(position);
  }

  private void send(long frame, FrameType type, int length) {
    FrameHeader.write(frame, type, length, generation, epoch, sequence++);
    FrameHeader.close(frame, crc);
    position += FrameHeader.BYTES + length;
    link.publish(position);
  }

  /** Frees what the writer itself has; link and cache are their owners'. */
  @Override
  public void close() {
    controlBuffer.close();
  }
}
