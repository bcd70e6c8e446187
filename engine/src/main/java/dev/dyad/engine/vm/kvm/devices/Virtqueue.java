package dev.dyad.engine.vm.kvm.devices;

import dev.dyad.bindings.linux.Memory;
import dev.dyad.engine.vm.kvm.GuestRam;
import dev.dyad.engine.vm.kvm.MalformedStateException;

/**
 * The device's side of a split virtqueue (Virtual I/O Device specification 1.2, 2.7). Guarded by its device.
 *
 * <p>Nothing that the driver wrote is trusted: addresses are looked up in the guest's memory each time they are used, indices are
 * masked, chains are bounded by the queue's size. A broken queue is reported, not followed.
 */
final class Virtqueue {
  static final int SIZE_MAX = 256;
  static final int STATE_BYTES = 64;

  /** {@link #pop}: nothing available. */
  static final int EMPTY = -1;

  /** {@link #pop} and {@link #next}: the driver's structures are wrong; the device needs a reset. */
  static final int BROKEN = -2;

  /** {@link #next}: that was the last descriptor of the chain. */
  static final int END = -1;

  private static final int NEXT = 1;
  private static final int WRITE = 2;
  private static final int NO_INTERRUPT = 1;

  private final GuestRam ram;

  private int size;
  private boolean ready;
  private long descriptorsPhys;
  private long driverPhys;
  private long devicePhys;
  private int nextAvailable;
  private int nextUsed;

  // Of the three areas; valid while ready.
  private long descriptors;
  private long available;
  private long used;

  // Where the walk over a chain is.
  private int walked;
  private long descriptor;

  Virtqueue(GuestRam ram) {
    this.ram = ram;
  }

  void reset() {
    size = 0;
    ready = false;
    descriptorsPhys = 0;
    driverPhys = 0;
    devicePhys = 0;
    nextAvailable = 0;
    nextUsed = 0;
  }

  int size() {
    return size;
  }

  boolean isReady() {
    return ready;
  }

  void setSize(int size) {
    if (!ready) {
      this.size = size;
    }
  }

  void setDescriptors(long value, boolean high) {
    if (!ready) {
      descriptorsPhys = half(descriptorsPhys, value, high);
    }
  }

  void setDriver(long value, boolean high) {
    if (!ready) {
      driverPhys = half(driverPhys, value, high);
    }
  }

  void setDevice(long value, boolean high) {
    if (!ready) {
      devicePhys = half(devicePhys, value, high);
    }
  }

  private static long half(long whole, long value, boolean high) {
    return high ? (whole & 0xffff_ffffL) | value << 32 : (whole & 0xffff_ffff_0000_0000L) | (value & 0xffff_ffffL);
  }

  /** False when size or addresses are none. */
  boolean setReady(boolean wanted) {
    ready = false;
    return !wanted || map();
  }

  private boolean map() {
    boolean aligned = (descriptorsPhys & 15) == 0 && (driverPhys & 1) == 0 && (devicePhys & 3) == 0;
    if (size < 1 || size > SIZE_MAX || Integer.bitCount(size) != 1 || !aligned) {
      return false;
    }
    descriptors = ram.hostVirt(descriptorsPhys, 16L * size);
    available = ram.hostVirt(driverPhys, 6 + 2L * size);
    used = ram.hostVirt(devicePhys, 6 + 8L * size);
    ready = descriptors != GuestRam.OUTSIDE && available != GuestRam.OUTSIDE && used != GuestRam.OUTSIDE;
    return ready;
  }

  /** Whether the driver has made something available. */
  boolean hasWork() {
    return ready && (availableIndex() - nextAvailable & 0xffff) != 0;
  }

  // The index is the upper half of the first word: acquire order needs a whole aligned word, and the driver's area is 4-aligned
  // in practice only; x86 orders plain loads, and the ordered load keeps the compiler from moving what follows.
  private int availableIndex() {
    if ((available & 3) == 0) {
      return Memory.getIntAcquire(available) >>> 16;
    }
    return Memory.getShort(available + 2) & 0xffff;
  }

  /** Takes the next available chain: its head, {@link #EMPTY} or {@link #BROKEN}. */
  int pop() {
    if (!ready) {
      return EMPTY;
    }
    int ahead = availableIndex() - nextAvailable & 0xffff;
    if (ahead == 0) {
      return EMPTY;
    }
    if (ahead > size) {
      return BROKEN;
    }
    int head = Memory.getShort(available + 4 + 2L * (nextAvailable & size - 1)) & 0xffff;
    if (head >= size) {
      return BROKEN;
    }
    nextAvailable = nextAvailable + 1 & 0xffff;
    return head;
  }

  /** Gives the last {@link #pop} back: it will be popped again. */
  void unpop() {
    nextAvailable = nextAvailable - 1 & 0xffff;
  }

  /** Begins the walk over a chain. */
  void walk(int head) {
    walked = 0;
    descriptor = descriptors + 16L * head;
  }

  /** Goes on to the next descriptor: 0, {@link #END} or {@link #BROKEN}. */
  int next() {
    if ((Memory.getShort(descriptor + 12) & NEXT) == 0) {
      return END;
    }
    int next = Memory.getShort(descriptor + 14) & 0xffff;
    if (next >= size || ++walked >= size) {
      return BROKEN;
    }
    descriptor = descriptors + 16L * next;
    return 0;
  }

  /** Bytes of the current descriptor. */
  long bytes() {
    return Memory.getInt(descriptor + 8) & 0xffff_ffffL;
  }

  /** Where the current descriptor's first {@code bytes} are, or {@link GuestRam#OUTSIDE}. */
  long hostVirt(long bytes) {
    return ram.hostVirt(Memory.getLong(descriptor), bytes);
  }

  boolean isWritable() {
    return (Memory.getShort(descriptor + 12) & WRITE) != 0;
  }

  /** Returns a chain to the driver. */
  void push(int head, int bytesWritten) {
    long element = used + 4 + 8L * (nextUsed & size - 1);
    Memory.putInt(element, head);
    Memory.putInt(element + 4, bytesWritten);
    ram.wrote(element, 8);
    nextUsed = nextUsed + 1 & 0xffff;
    // Flags (always 0 here) and index in one aligned word; the driver reads the index and then the element.
    Memory.putIntRelease(used, nextUsed << 16);
    ram.wrote(used, 4);
  }

  /** Whether the driver wants to be told of what was pushed. */
  boolean wantsInterrupt() {
    return (Memory.getShort(available) & NO_INTERRUPT) == 0;
  }

  void save(long at) {
    Memory.putInt(at, size);
    Memory.putInt(at + 4, ready ? 1 : 0);
    Memory.putLong(at + 8, descriptorsPhys);
    Memory.putLong(at + 16, driverPhys);
    Memory.putLong(at + 24, devicePhys);
    Memory.putInt(at + 32, nextAvailable);
    Memory.putInt(at + 36, nextUsed);
    Memory.putLong(at + 40, 0);
    Memory.putLong(at + 48, 0);
    Memory.putLong(at + 56, 0);
  }

  void restore(long at) {
    reset();
    size = Memory.getInt(at);
    descriptorsPhys = Memory.getLong(at + 8);
    driverPhys = Memory.getLong(at + 16);
    devicePhys = Memory.getLong(at + 24);
    nextAvailable = Memory.getInt(at + 32) & 0xffff;
    nextUsed = Memory.getInt(at + 36) & 0xffff;
    if (Memory.getInt(at + 4) != 0 && !map()) {
      throw new MalformedStateException("machine state: virtqueue of " + size + " entries at 0x" + Long.toHexString(descriptorsPhys) + " is not in memory");
    }
  }
}
