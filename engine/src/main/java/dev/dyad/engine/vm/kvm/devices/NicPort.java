package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Files;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.net.PacketPort;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/**
 * The far end of a {@link VirtioNet}'s wire, as the net thread sees it.
 *
 * <p>Frames from the guest wait in a mirrored ring in wire form: written by vCPU threads under the card's monitor, read by the net
 * thread. They have no epoch yet; the net thread's tag after the receipt is the right one (see {@link dev.dyad.engine.net.HeldOutput}).
 */
public final class NicPort implements PacketPort {
  private static final int PREFIX_BYTES = 4;
  private static final int RING_BYTES = 1 << 20;

  /** An eventfd with this count is not writable: poll(2) for writing waits until it is drained. eventfd(2) */
  private static final long NOT_WRITABLE = -2;

  private static final VarHandle TAIL;
  private static final VarHandle HEAD;

  static {
    try {
      MethodHandles.Lookup lookup = MethodHandles.lookup();
      TAIL = lookup.findVarHandle(NicPort.class, "tail", long.class);
      HEAD = lookup.findVarHandle(NicPort.class, "head", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private final Mapping ring = Mapping.mirrored(RING_BYTES);
  private final long base = ring.hostVirt();
  private final EventFd received = new EventFd();
  private final EventFd room = new EventFd();
  private final Mapping word = Mapping.anonymous(4096);

  /** End of what the guest has sent; the card's, read by the net thread. */
  @SuppressWarnings("unused")
  private long tail;

  /** End of what the net thread has taken; read by the card for room. */
  @SuppressWarnings("unused")
  private long head;

  private @Nullable VirtioNet card;

  /** The net thread was told LATER and waits for {@link #room}. Guarded by this. */
  private boolean waiting;

  private volatile long lost;

  public NicPort() {
    Memory.putLong(word.hostVirt(), NOT_WRITABLE);
  }

  void attach(VirtioNet net) {
    card = net;
  }

  // ---- the card, under its monitor ----

  /** Whether a frame of the largest size fits. */
  boolean hasRoom() {
    return RING_BYTES - (tail - (long) HEAD.getAcquire(this)) >= PREFIX_BYTES + VirtioNet.FRAME_BYTES_MAX;
  }

  /** Where the next frame is to be put. */
  long frame() {
    return base + (tail & RING_BYTES - 1) + PREFIX_BYTES;
  }

  void append(int bytes) {
    Memory.putInt(frame() - PREFIX_BYTES, Integer.reverseBytes(bytes));
    TAIL.setRelease(this, tail + PREFIX_BYTES + bytes);
  }

  void announce() {
    received.signal();
  }

  /** The guest gave buffers, or woke up: a net thread that waits may try again. */
  void mayBeRoom() {
    synchronized (room) {
      if (waiting) {
        waiting = false;
        room.drain();
      }
    }
  }

  // ---- the net thread ----

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  @Override
  public long receive(long at, long room) {
    received.drain();
    long from = head;
    long end = (long) TAIL.getAcquire(this);
    long to = from;
    while (to < end) {
      long next = to + PREFIX_BYTES + Integer.reverseBytes(Memory.getInt(base + (to & RING_BYTES - 1)));
      if (next - from > room) {
        received.signal();
        break;
      }
      to = next;
    }
    if (to == from) {
      return AGAIN;
    }
    Memory.copy(base + (from & RING_BYTES - 1), at, to - from);
    HEAD.setRelease(this, to);
    VirtioNet net = card;
    if (net != null && net.isStalled()) {
      net.resumeTransmit();
    }
    return to - from;
  }

  @Override
  public long send(long from, long bytes) {
    VirtioNet net = card;
    if (net == null) {
      return CLOSED;
    }
    long done = 0;
    boolean delivered = false;
    boolean later = false;
    while (done < bytes && !later) {
      int length = Integer.reverseBytes(Memory.getInt(from + done));
      switch (net.deliver(from + done + PREFIX_BYTES, length)) {
        case DONE -> {
          delivered = true;
          done += PREFIX_BYTES + length;
        }
        case LOST -> {
          lose();
          done += PREFIX_BYTES + length;
        }
        case LATER -> later = true;
      }
    }
    if (delivered) {
      net.announceDelivered();
    }
    if (done == 0) {
      waitForRoom(net);
      return AGAIN;
    }
    return done;
  }

  private void waitForRoom(VirtioNet net) {
    synchronized (room) {
      if (!waiting) {
        waiting = true;
        Files.write(room.fd(), word.hostVirt(), Long.BYTES);
      }
    }
    // The card may have woken up or got buffers between its refusal and the line above.
    if (net.canDeliver()) {
      mayBeRoom();
    }
  }

  @SuppressWarnings("NonAtomicVolatileUpdate") // one writer
  private void lose() {
    lost++;
  }

  @Override
  public int receiveFd() {
    return received.fd();
  }

  @Override
  public int sendFd() {
    return room.fd();
  }

  @Override
  public long lostFrames() {
    return lost;
  }

  @Override
  public void close() {
    received.close();
    room.close();
    ring.close();
    word.close();
  }
}
