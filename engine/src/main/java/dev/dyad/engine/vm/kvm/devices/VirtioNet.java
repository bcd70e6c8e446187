package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;

/**
 * A network card (Virtual I/O Device specification 1.2, 5.1) with one pair of queues and no offloads: whole frames, checksums done.
 *
 * <p>What the guest sends goes into the transmit ring of a {@link NicPort}; when that is full the buffers stay with the device and
 * the guest's queue fills. What comes from outside is copied into the guest's receive buffers at once, or refused.
 */
public final class VirtioNet extends VirtioMmio {
  /** Largest Ethernet frame either way. */
  public static final int FRAME_BYTES_MAX = 9216 + 18;

  private static final int DEVICE_ID = 1;
  private static final long FEATURE_MAC = 1 << 5;
  private static final int RX = 0;
  private static final int TX = 1;
  private static final int HEADER_BYTES = 12;
  private static final int HEADER_BUFFERS = 10;
  private static final int FRAME_BYTES_MIN = 14;

  /** What became of a frame for the guest. */
  enum Delivery {
    DONE,
    /** Paused, or no buffer: later. */
    LATER,
    /** No driver, or larger than its buffer. */
    LOST
  }

  private final byte[] mac;
  private final NicPort port;
  private boolean stalled;
  private long sentFrames;
  private long droppedFrames;

  public VirtioNet(GuestRam ram, InterruptLine interrupt, byte[] mac, NicPort port) {
    super(ram, interrupt, DEVICE_ID, FEATURE_MAC, 2);
    this.mac = mac.clone();
    this.port = port;
    port.attach(this);
  }

  @Override
  protected int configByte(int offset) {
    return offset < mac.length ? mac[offset] & 0xff : 0;
  }

  @Override
  protected void resetDevice() {
    stalled = false;
    port.mayBeRoom();
  }

  @Override
  protected void serve(int queue) {
    if (queue == TX) {
      transmit();
    } else {
      port.mayBeRoom();
    }
  }

  private void transmit() {
    Virtqueue queue = queue(TX);
    boolean used = false;
    stalled = false;
    for (int head = queue.pop(); head != Virtqueue.EMPTY; head = queue.pop()) {
      if (head == Virtqueue.BROKEN) {
        needsReset();
        break;
      }
      if (!port.hasRoom()) {
        queue.unpop();
        stalled = true;
        break;
      }
      int bytes = gather(queue, head, port.frame());
      if (bytes >= FRAME_BYTES_MIN) {
        port.append(bytes);
        sentFrames++;
      } else if (bytes == Virtqueue.BROKEN) {
        needsReset();
        break;
      } else {
        droppedFrames++;
      }
      queue.push(head, 0);
      used = true;
    }
    if (used) {
      port.announce();
      interruptUsed(queue);
    }
  }

  /** Copies the frame without its header; its bytes, 0 for one too large, or {@link Virtqueue#BROKEN}. */
  private static int gather(Virtqueue queue, int head, long frame) {
    long skip = HEADER_BYTES;
    int bytes = 0;
    boolean tooLarge = false;
    queue.walk(head);
    for (int step = 0; step == 0; step = queue.next()) {
      long length = queue.bytes();
      long from = queue.hostVirt(length);
      if (from == GuestRam.OUTSIDE || queue.isWritable()) {
        return Virtqueue.BROKEN;
      }
      long skipped = Math.min(skip, length);
      skip -= skipped;
      long rest = length - skipped;
      if (bytes + rest > FRAME_BYTES_MAX) {
        tooLarge = true;
      } else {
        Memory.copy(from + skipped, frame + bytes, rest);
        bytes += (int) rest;
      }
    }
    return tooLarge ? 0 : bytes;
  }

  /** The transmit ring has room again: goes on where {@link #transmit} stopped. The net thread. */
  synchronized void resumeTransmit() {
    if (stalled && isLive()) {
      transmit();
    }
  }

  synchronized boolean isStalled() {
    return stalled;
  }

  /** Gives the guest a frame. The net thread. */
  synchronized Delivery deliver(long frame, int bytes) {
    Virtqueue queue = queue(RX);
    if (!isStarted() || !queue.isReady()) {
      return Delivery.LOST;
    }
    if (isQuiet()) {
      return Delivery.LATER;
    }
    int head = queue.pop();
    if (head == Virtqueue.EMPTY) {
      return Delivery.LATER;
    }
    if (head == Virtqueue.BROKEN) {
      needsReset();
      return Delivery.LOST;
    }
    int written = scatter(queue, head, frame, bytes);
    if (written == Virtqueue.BROKEN) {
      needsReset();
      return Delivery.LOST;
    }
    queue.push(head, written);
    return written == 0 ? Delivery.LOST : Delivery.DONE;
  }

  /** Whether {@link #deliver} would not say LATER now. */
  synchronized boolean canDeliver() {
    return !isStarted() || (!isQuiet() && queue(RX).hasWork());
  }

  /** Tells the guest of what {@link #deliver} gave it. */
  synchronized void announceDelivered() {
    if (isLive()) {
      interruptUsed(queue(RX));
    }
  }

  /** Bytes written, header included; 0 when the chain is too short, or {@link Virtqueue#BROKEN}. */
  private int scatter(Virtqueue queue, int head, long frame, int bytes) {
    int done = 0;
    int total = HEADER_BYTES + bytes;
    queue.walk(head);
    for (int step = 0; step == 0 && done < total; step = queue.next()) {
      long length = Math.min(queue.bytes(), total - done);
      long to = queue.hostVirt(length);
      if (to == GuestRam.OUTSIDE || !queue.isWritable() || (done == 0 && length < HEADER_BYTES)) {
        return Virtqueue.BROKEN;
      }
      long header = 0;
      if (done == 0) {
        Memory.zero(to, HEADER_BYTES);
        Memory.putShort(to + HEADER_BUFFERS, (short) 1);
        header = HEADER_BYTES;
      }
      Memory.copy(frame + done + header - HEADER_BYTES, to + header, length - header);
      ram.wrote(to, length);
      done += (int) length;
    }
    return done < total ? 0 : done;
  }

  /** Frames that the guest has sent. */
  public synchronized long sentFrames() {
    return sentFrames;
  }

  /** Frames of the guest's that no wire takes: too short, too large. */
  public synchronized long droppedFrames() {
    return droppedFrames;
  }
}
