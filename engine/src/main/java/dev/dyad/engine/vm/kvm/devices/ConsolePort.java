package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.net.PacketPort;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * What the guest prints, as the net thread receives it: so it is held until its epoch is committed, as every other output is.
 *
 * <p>Characters wait in a mirrored ring, written by vCPU threads under the serial port's monitor, read by the net thread, which gets all
 * that is there as one frame in wire form. A ring that is full loses characters, counted; nothing is ever sent to the guest this way.
 */
public final class ConsolePort implements PacketPort, ConsoleSink {
  private static final int PREFIX_BYTES = 4;
  private static final int RING_BYTES = 1 << 18;
  private static final VarHandle TAIL;
  private static final VarHandle HEAD;

  static {
    try {
      MethodHandles.Lookup lookup = MethodHandles.lookup();
      TAIL = lookup.findVarHandle(ConsolePort.class, "tail", long.class);
      HEAD = lookup.findVarHandle(ConsolePort.class, "head", long.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private final Mapping ring = Mapping.mirrored(RING_BYTES);
  private final long base = ring.hostVirt();
  private final EventFd received = new EventFd();

  /** End of what was printed; the serial port's, read by the net thread. */
  @SuppressWarnings("unused")
  private long tail;

  /** End of what was taken; the net thread's, read by the serial port for room. */
  @SuppressWarnings("unused")
  private long head;

  private volatile long lost;

  @Override
  @SuppressWarnings("NonAtomicVolatileUpdate") // one writer at a time
  public void write(int character) {
    long taken = (long) HEAD.getAcquire(this);
    if (tail - taken == RING_BYTES) {
      lost++;
      return;
    }
    Memory.putByte(base + (tail & RING_BYTES - 1), (byte) character);
    TAIL.setVolatile(this, tail + 1);
    // The reader drains the bell before it looks at the tail: whoever adds to an empty ring rings.
    if ((long) HEAD.getVolatile(this) == tail - 1) {
      received.signal();
    }
  }

  @Override
  public int prefixBytes() {
    return PREFIX_BYTES;
  }

  @Override
  public long receive(long at, long room) {
    received.drain();
    long from = head;
    long there = (long) TAIL.getVolatile(this) - from;
    long bytes = Math.min(there, Math.min(room, WIRE_FRAME_BYTES_MAX) - PREFIX_BYTES);
    if (bytes <= 0) {
      return AGAIN;
    }
    Memory.copy(base + (from & RING_BYTES - 1), at + PREFIX_BYTES, bytes);
    Memory.putInt(at, Integer.reverseBytes((int) bytes));
    HEAD.setVolatile(this, from + bytes);
    // A character that came since found the ring not empty, and did not ring.
    if ((long) TAIL.getVolatile(this) != from + bytes) {
      received.signal();
    }
    return PREFIX_BYTES + bytes;
  }

  /** Takes anything and does nothing with it. */
  @Override
  public long send(long from, long bytes) {
    return bytes;
  }

  @Override
  public int receiveFd() {
    return received.fd();
  }

  @Override
  public int sendFd() {
    return received.fd();
  }

  /** Characters that did not fit. */
  @Override
  public long lostFrames() {
    return lost;
  }

  @Override
  public void close() {
    received.close();
    ring.close();
  }
}
