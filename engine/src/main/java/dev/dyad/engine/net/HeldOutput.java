package dev.dyad.engine.net;

import dev.dyad.bindings.linux.EventFd;
import dev.dyad.bindings.linux.Mapping;
import dev.dyad.bindings.linux.Memory;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * The frames that one NIC of the guest has sent and that may not leave yet, in wire form, in their order, outside the heap.
 *
 * <pre>
 *            released        committed       complete   tail
 *                |  may leave    |     held     | partial |          one mirrored ring; positions only grow
 *     -----------+---------------+--------------+---------+-----&gt;
 *                 epoch 7 ... 8  | 9 ....... 10 |
 * </pre>
 *
 * <p><b>Which epoch a frame belongs to.</b> Output commit wants: a frame that the guest made in epoch <em>n</em> has a tag of
 * <em>n or more</em>. (More is harmless: it leaves with a later commit. Less would let it out before the state that made it is
 * safe.) The net thread therefore reads the number of the open epoch <em>after</em> the system call that received the frame. Let
 * a frame be made in epoch <em>n</em>. It was made after the resume that began <em>n</em>, that resume came after
 * {@code seal(n − 1)} (the epoch thread's program order, while the guest was paused), and the receipt came after the making. So
 * {@code seal(n − 1)} happened before the receipt, and a read after the receipt yields <em>n</em> or more. Were the number
 * read <em>before</em> the receipt, a pause could lie between the two, and a frame of epoch <em>n</em> would be tagged <em>n −
 * 1</em>: it would leave when <em>n − 1</em> is acknowledged. A frame that is still in a socket when its epoch is sealed gets
 * the next tag, and so does one of which only a part had arrived: the tag is given when a frame is complete.
 *
 * <p><b>Threads.</b> The net thread alone receives ({@link #receive}, {@link #insert}). Any thread may release; a counter makes
 * sure that one does at a time and that none leaves work undone. Positions are published with release and read with acquire
 * order, by the respective other side.
 *
 * <p><b>Bounded.</b> When less than one frame's room is left nothing more is received, and the guest's socket fills: QEMU holds
 * its virtual NIC back (or, with redirected frames, stands still; see {@link #receive} for the one case in which frames are
 * dropped instead, as on any full switch).
 */
public final class HeldOutput implements AutoCloseable {
  /** Distinct epochs that can have output here at once. */
  private static final int EPOCHS_MAX = 1024;

  /** Room that ordinary receiving leaves, so that a full ring can still read a frame and drop it, with a part of the next. */
  private static final long RESERVE_BYTES = 2L * PacketPort.WIRE_FRAME_BYTES_MAX;

  /** Smallest ring: the reserve, a frame, and as much again. */
  public static final long CAPACITY_BYTES_MIN = 512 * 1024;

  private static final VarHandle POSITION = MethodHandles.arrayElementVarHandle(long[].class);
  private static final VarHandle RELEASED;
  private static final VarHandle COMPLETE;
  private static final VarHandle TAIL;
  private static final VarHandle EPOCH_TAIL;
  private static final VarHandle CALLS;

  static {
    try {
      MethodHandles.Lookup lookup = MethodHandles.lookup();
      RELEASED = lookup.findVarHandle(HeldOutput.class, "released", long.class);
      COMPLETE = lookup.findVarHandle(HeldOutput.class, "complete", long.class);
      TAIL = lookup.findVarHandle(HeldOutput.class, "tail", long.class);
      EPOCH_TAIL = lookup.findVarHandle(HeldOutput.class, "epochTail", long.class);
      CALLS = lookup.findVarHandle(HeldOutput.class, "releaseCalls", int.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** What a call of {@link #receive} found. */
  public enum Received {
    FRAMES,
    NOTHING,
    /** No room: wait for a release. */
    FULL,
    /** The guest's end is gone, or what it sends is no wire form. */
    CLOSED
  }

  private enum Mode {
    HOLD,
    PASS,
    DISCARD
  }

  private final PacketPort guest;
  private final PacketPort outside;
  private final ReleaseGate gate;
  private final OutputEpoch epoch;
  private final LearnedAddresses learned;
  private final EventFd bell;
  private final boolean blocksGuest;
  private final int prefixBytes;

  private final Mapping ring;
  private final long base;
  private final long capacity;
  private final long mask;

  /** End of what was received. The net thread's own; others only look whether it equals {@link #complete}. */
  private long tail;

  // The net thread's own.
  private long lastTag = Long.MIN_VALUE;

  /** End of the last complete frame that has a tag. Written by the net thread, read by releasers. */
  @SuppressWarnings("unused")
  private long complete;

  /** Epoch, end position of its last frame, frames up to there, nothing: four words an entry; written by the net thread, read by releasers. */
  private final long[] epochs = new long[4 * EPOCHS_MAX];

  /** Entries of {@link #epochs} made so far. Written by the net thread, read by releasers. */
  @SuppressWarnings("unused")
  private long epochTail;

  /** Entries of {@link #epochs} done with; the releaser's, read by the net thread for room. */
  private volatile long epochHead;

  /** Start of what is held. Written by the releaser, read by the net thread for room. */
  @SuppressWarnings("unused")
  private long released;

  /** The releaser's: frames up to the end of what may leave (a moment too new when the net thread lengthens that entry). */
  private long mayLeaveFrames;

  /** Calls of {@link #drain} not served yet; who raises it from 0 serves them all. */
  @SuppressWarnings("unused")
  private int releaseCalls;

  /** Newest epoch that may leave. Written by the thread that gets acknowledgements, read by the releaser. */
  private volatile long committed;

  private volatile Mode mode = Mode.HOLD;
  private volatile boolean blocked;
  private volatile boolean refused;
  private volatile boolean outsideClosed;
  private volatile long openTag = Long.MIN_VALUE;

  // Counters: one writer each, read by anybody.
  private final Count receivedFrames = new Count();
  private final Count leftFrames = new Count();
  private final Count releasedBytes = new Count();
  private final Count discardedBytes = new Count();
  private final Count droppedFrames = new Count();
  private final Count fullTimes = new Count();
  private boolean wasFull;
  private volatile int headerBytes;
  private volatile boolean waitsForRoom;

  /**
   * @param guest where the guest's frames come from
   * @param outside where they leave
   * @param gate asked before each system call that sends
   * @param epoch the tag, shared by all NICs of the guest
   * @param learned is shown every frame
   * @param bell wakes the net thread: there is room again, or the outside has none
   * @param capacityBytes size of the ring, a power of two, {@link #CAPACITY_BYTES_MIN} or more
   * @param blocksGuest true when a guest whose frames are not received stands still as a whole, its monitor included
   */
  public HeldOutput(
      PacketPort guest,
      PacketPort outside,
      ReleaseGate gate,
      OutputEpoch epoch,
      LearnedAddresses learned,
      EventFd bell,
      long capacityBytes,
      boolean blocksGuest) {
    if (Long.bitCount(capacityBytes) != 1 || capacityBytes < CAPACITY_BYTES_MIN) {
      throw new IllegalArgumentException("held output of " + capacityBytes + " bytes: a power of two from " + CAPACITY_BYTES_MIN + " on is needed");
    }
    if (guest.prefixBytes() != outside.prefixBytes()) {
      throw new IllegalArgumentException(
          "wire forms differ: prefix of " + guest.prefixBytes() + " bytes in, " + outside.prefixBytes() + " out");
    }
    this.guest = guest;
    this.outside = outside;
    this.gate = gate;
    this.epoch = epoch;
    this.learned = learned;
    this.bell = bell;
    this.blocksGuest = blocksGuest;
    this.prefixBytes = guest.prefixBytes();
    this.ring = Mapping.mirrored(capacityBytes);
    this.base = ring.hostVirt();
    this.capacity = capacityBytes;
    this.mask = capacityBytes - 1;
    this.committed = epoch.open() - 1;
  }

  // ---- the net thread ----

  /**
   * Receives once, tags and shows what is complete. Releases nothing unless in {@link #pass} or {@link #discard}.
   *
   * <p>When full, nothing is read. The exception: a guest that stands still when it is not read ({@code blocksGuest}) and a
   * ring that holds nothing but the open epoch. Only a seal can make room then, and the seal needs the monitor of that very
   * guest. So frames are read and dropped, counted; the guest's own protocols repeat them.
   */
  public Received receive() {
    long from = (long) RELEASED.getAcquire(this);
    long room = capacity - (tail - from);
    boolean drop = false;
    if (room < RESERVE_BYTES + PacketPort.WIRE_FRAME_BYTES_MAX || epochTail - epochHead >= EPOCHS_MAX) {
      drop = blocksGuest && onlySealMakesRoom(from);
      if (!wasFull) {
        wasFull = true;
        fullTimes.add(1);
      }
      if (!drop) {
        // Say so first, look again second; the releaser makes room first and looks for this second. One of the two sees the other.
        waitsForRoom = true;
        return (long) RELEASED.getVolatile(this) == from ? Received.FULL : Received.NOTHING;
      }
    } else {
      wasFull = false;
      room -= RESERVE_BYTES;
    }
    long got = guest.receive(base + (tail & mask), room);
    if (got == PacketPort.AGAIN) {
      return Received.NOTHING;
    }
    if (got < 0) {
      return Received.CLOSED;
    }
    // After the receipt, never before: see the head of this file.
    long tag = epoch.open();
    TAIL.setRelease(this, tail + got);
    return accept(tag, drop) ? Received.FRAMES : Received.CLOSED;
  }

  /**
   * Appends frames of our own (an announcement) as if the guest had sent them now.
   *
   * @param from frames in wire form
   * @return false, with nothing done, when a frame of the guest's has arrived in part only or there is no room
   */
  public boolean insert(long from, int bytes) {
    long room = capacity - (tail - (long) RELEASED.getAcquire(this));
    if (tail != complete || room < bytes + RESERVE_BYTES) {
      return false;
    }
    Memory.copy(from, base + (tail & mask), bytes);
    long tag = epoch.open();
    TAIL.setRelease(this, tail + bytes);
    return accept(tag, false);
  }

  private boolean accept(long tag, boolean drop) {
    long end = complete;
    long frames = 0;
    while (tail - end >= prefixBytes) {
      long at = base + (end & mask);
      long length = Integer.reverseBytes(Memory.getInt(at)) & 0xffff_ffffL;
      if (length > PacketPort.WIRE_FRAME_BYTES_MAX - prefixBytes) {
        return false;
      }
      if (tail - end - prefixBytes < length) {
        break;
      }
      if (!drop) {
        headerBytes = headerBytes(at);
        learned.observe(at + prefixBytes + headerBytes, length - headerBytes);
      }
      end += prefixBytes + length;
      frames++;
    }
    if (frames == 0) {
      return true;
    }
    if (drop) {
      long begin = complete;
      Memory.copy(base + (end & mask), base + (begin & mask), tail - end);
      TAIL.setRelease(this, tail - (end - begin));
      droppedFrames.add(frames);
      return true;
    }
    receivedFrames.add(frames);
    publish(tag, end);
    return true;
  }

  /** The virtio-net header in front of the Ethernet frame, as the second word of a long prefix says. */
  private int headerBytes(long at) {
    return prefixBytes == 8 ? Integer.reverseBytes(Memory.getInt(at + 4)) & 0xff : 0;
  }

  /** Length of the virtio-net header of the newest frame; 0 before the first. Any thread. */
  public int headerBytes() {
    return headerBytes;
  }

  private void publish(long tag, long end) {
    if (tag == lastTag) {
      epochs[index(epochTail - 1) + 2] = receivedFrames.get();
      POSITION.setRelease(epochs, index(epochTail - 1) + 1, end);
    } else {
      int index = index(epochTail);
      epochs[index] = tag;
      epochs[index + 1] = end;
      epochs[index + 2] = receivedFrames.get();
      lastTag = tag;
      EPOCH_TAIL.setRelease(this, epochTail + 1);
    }
    COMPLETE.setRelease(this, end);
    openTag = tag;
  }

  private boolean onlySealMakesRoom(long from) {
    long head = epochHead;
    return mode == Mode.HOLD && from < complete && head < epochTail && epochs[index(head)] >= epoch.open();
  }

  /** Whether something may leave that no releaser will come for: to be asked after {@link #receive}. */
  public boolean isDrainDue() {
    return mode != Mode.HOLD || lastTag <= committed;
  }

  // ---- the epoch thread ----

  /** Whether output of the open epoch is held: ending the epoch now would let it leave soonest. */
  public boolean outputWaits() {
    return mode == Mode.HOLD && openTag == epoch.open();
  }

  /** Bytes held, whether committed or not. */
  public long heldBytes() {
    return (long) COMPLETE.getAcquire(this) - (long) RELEASED.getAcquire(this);
  }

  /** Frames held, as counted when they came and when they left. */
  public long heldFrames() {
    return receivedFrames.get() - leftFrames.get();
  }

  /** Whether more than half of the ring is in use: time to end the epoch. */
  public boolean isPressed() {
    return heldBytes() > capacity / 2;
  }

  // ---- the thread that gets acknowledgements ----

  /** Lets everything up to and including {@code upToEpoch} leave, in order, in as few system calls as the port allows. */
  public void release(long upToEpoch) {
    if (upToEpoch > committed) {
      committed = upToEpoch;
    }
    drain();
  }

  // ---- the control thread ----

  /**
   * Unprotected: what is held leaves at once, and what comes leaves as it comes (at the net thread's next {@link #drain}).
   */
  public void pass() {
    if (mode == Mode.HOLD) {
      mode = Mode.PASS;
    }
    drain();
  }

  /**
   * Protected from the seal of {@code sealedEpoch} on: the guest is paused, the epoch is being sealed. What was made before may
   * leave, what is made after it is held. To be called at the seal of the first epoch from which the peer may go on.
   */
  public void hold(long sealedEpoch) {
    if (sealedEpoch > committed) {
      committed = sealedEpoch;
    }
    if (mode == Mode.PASS) {
      mode = Mode.HOLD;
    }
  }

  /** Fenced: nothing leaves any more; what is held and what still comes is thrown away. For good. */
  public void discard() {
    mode = Mode.DISCARD;
    drain();
  }

  // ---- any of them ----

  /** Sends what may leave. Whoever finds another thread at it leaves the work to that thread. */
  public void drain() {
    if ((int) CALLS.getAndAdd(this, 1) != 0) {
      return;
    }
    int served = 1;
    do {
      drainOnce();
      served = (int) CALLS.getAndAdd(this, -served) - served;
    } while (served != 0);
  }

  private void drainOnce() {
    long from = released;
    long until = mayLeaveUntil();
    boolean wait = false;
    boolean no = false;
    while (from < until) {
      if (mode == Mode.DISCARD) {
        discardedBytes.add(until - from);
        from = until;
        break;
      }
      if (!gate.mayRelease()) {
        no = true;
        break;
      }
      long sent = outside.send(base + (from & mask), until - from);
      if (sent == PacketPort.AGAIN) {
        wait = true;
        break;
      }
      if (sent < 0) {
        // Nobody is there to receive: the cable is out. What cannot leave must not hold the guest up.
        outsideClosed = true;
        discardedBytes.add(until - from);
        from = until;
        break;
      }
      from += sent;
      releasedBytes.add(sent);
    }
    if (from == until) {
      leftFrames.set(mayLeaveFrames);
    }
    boolean madeRoom = from != released;
    RELEASED.setVolatile(this, from);
    refused = no;
    boolean ring = wait && !blocked;
    blocked = wait;
    if (madeRoom && waitsForRoom) {
      waitsForRoom = false;
      ring = true;
    }
    if (ring) {
      bell.signal();
    }
  }

  /** End of what may leave, and drops the entries of epochs that lie before it. */
  private long mayLeaveUntil() {
    // Before the mode: while PASS is read after it, hold() has not come, so these frames are of epochs that it lets pass.
    long end = (long) COMPLETE.getAcquire(this);
    if (mode != Mode.HOLD) {
      long entries = (long) EPOCH_TAIL.getAcquire(this);
      if (entries > 0) {
        epochHead = Math.max(epochHead, entries - 1);
        mayLeaveFrames = epochs[index(entries - 1) + 2];
      }
      return end;
    }
    long allowed = committed;
    long entries = (long) EPOCH_TAIL.getAcquire(this);
    long head = epochHead;
    long until = released;
    while (head < entries && epochs[index(head)] <= allowed) {
      until = Math.max(until, (long) POSITION.getAcquire(epochs, index(head) + 1));
      mayLeaveFrames = epochs[index(head) + 2];
      if (head + 1 == entries) {
        break; // the net thread may still lengthen its newest entry
      }
      head++;
    }
    epochHead = head;
    return until;
  }

  private static int index(long entry) {
    return 4 * (int) (entry & (EPOCHS_MAX - 1));
  }

  /** The outside had no room: poll its {@link PacketPort#sendFd()} and call {@link #drain} again. */
  public boolean isBlocked() {
    return blocked;
  }

  /** The gate said no at the last attempt: call {@link #drain} again a little later. */
  public boolean isRefused() {
    return refused;
  }

  /** The outside's other end is gone. */
  public boolean isOutsideClosed() {
    return outsideClosed;
  }

  /** Whether nothing is held and no frame has arrived in part. Exact once nothing arrives any more. */
  public boolean isEmpty() {
    return heldBytes() == 0 && (long) TAIL.getAcquire(this) == (long) COMPLETE.getAcquire(this);
  }

  /** The epoch of the newest frame. The net thread's. */
  long newestTag() {
    return lastTag;
  }

  public boolean isPassing() {
    return mode == Mode.PASS;
  }

  public long receivedFrames() {
    return receivedFrames.get();
  }

  public long releasedBytes() {
    return releasedBytes.get();
  }

  public long discardedBytes() {
    return discardedBytes.get();
  }

  public long droppedFrames() {
    return droppedFrames.get();
  }

  /** How often the ring was found full. */
  public long fullTimes() {
    return fullTimes.get();
  }

  public PacketPort guest() {
    return guest;
  }

  public PacketPort outside() {
    return outside;
  }

  /** Frees the ring; the net thread and all releasers must be done. Leaves the ports open. */
  @Override
  public void close() {
    ring.close();
  }
}
